"""Stored features beside the same features computed anew from the raw events."""
