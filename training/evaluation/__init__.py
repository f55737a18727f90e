"""Judging recommenders by what happened after a moment: queries, models, baselines, measures.

``training/commands/evaluate.py`` is the command, docs/evaluation.md says what is measured and how to add a model.
"""
