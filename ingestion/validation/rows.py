"""Row by row: do the values of tables and catalogue sources keep to their expectations?

Tables are read in columns and batches, and each batch is checked by itself, so that memory does not grow with the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
from pandera.errors import SchemaErrors
from pandera.pandas import DataFrameSchema

from feature_repo.checks.findings import Finding, Status, judged

EXAMPLES = 3
_NOT_NULL = "not_nullable"


@dataclass
class _Failures:
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, count: int, examples: Iterable[str]) -> None:
        self.count += count
        self.examples += list(examples)[: EXAMPLES - len(self.examples)]


def check_rows(
    name: str,
    batches: Iterable[pa.RecordBatch],
    schema: DataFrameSchema,
    key: str,
    advice: str,
    most_missing: Mapping[str, float] | None = None,
) -> list[Finding]:
    """A finding per column and rule, and per column of which a share may be missing."""
    rows, failures, missing = 0, {rule: _Failures() for rule in _rules(schema)}, dict.fromkeys(most_missing or {}, 0)
    for batch in batches:
        if not batch.num_rows:
            continue
        frame = batch.to_pandas()
        rows += len(frame)
        for column in missing:
            missing[column] += int(frame[column].isna().sum())
        for (column, rule), cases in _failing(frame, schema):
            examples = (f"{key}={frame[key].iat[place]}: {value!r}" for place, value in cases.head(EXAMPLES).items())
            failures[column, rule].add(len(cases), examples)
    findings = [
        Finding(
            name,
            "missing" if rule == _NOT_NULL else "range",
            column,
            judged(found.count) if rows else Status.NOT_JUDGED,
            found.count,
            rows,
            limit="none missing" if rule == _NOT_NULL else rule,
            examples=tuple(found.examples),
            advice=advice if found.count else "",
        )
        for (column, rule), found in failures.items()
    ]
    for column, count in missing.items():
        limit = (most_missing or {})[column]
        status = judged(count, int(limit * rows)) if rows else Status.NOT_JUDGED
        advice_ = f"more rows than usual lack {column}: {advice}" if status is Status.VIOLATED else ""
        findings.append(
            Finding(name, "missing", column, status, count, rows, limit=f"{limit:.0%} missing", advice=advice_)
        )
    return findings


def _rules(schema: DataFrameSchema) -> list[tuple[str, str]]:
    """All that a schema demands: column and rule."""
    rules = []
    for name, column in schema.columns.items():
        if not column.nullable:
            rules.append((name, _NOT_NULL))
        rules += [(name, check.error) for check in column.checks]
    return rules


def _failing(frame: pd.DataFrame, schema: DataFrameSchema) -> Iterable[tuple[tuple[str, str], pd.Series[Any]]]:
    """Per column and rule the failing values, by place in the frame."""
    try:
        schema.validate(frame.reset_index(drop=True), lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        for (column, rule), of_rule in cases.groupby(["column", "check"], sort=False):
            yield (
                (str(column), str(rule)),
                pd.Series(of_rule["failure_case"].to_numpy(), index=of_rule["index"].astype(int)),
            )
