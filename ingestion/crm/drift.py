"""Fields of an API's records that appear, vanish or change their type from one pull to the next."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ingestion.crm.config import Customers, Orders, Resource, Where
from ingestion.crm.state import Change, KnownField

_DEEPEST = 6
# Objects whose keys are data, such as ids, would give new fields for ever.
_MOST_FIELDS = 1_000
_TYPES = {str: "text", bool: "boolean", int: "number", float: "number", dict: "object", list: "list"}


class Shape:
    """The fields of the records of a pull. Paths are dotted; ``[]`` stands for the elements of a list."""

    def __init__(self) -> None:
        self._types: dict[str, set[str]] = defaultdict(set)
        self._seen: Counter[str] = Counter()
        self._objects: Counter[str] = Counter()

    def add(self, record: Any) -> None:
        """Take in a record."""
        self._add(record, "", 0)

    def _add(self, value: Any, path: str, depth: int) -> None:
        if value is not None and path:
            self._types[path].add(_TYPES.get(type(value), "text"))
        if depth == _DEEPEST:
            return
        if isinstance(value, Mapping):
            self._objects[path] += 1
            for key, part in value.items():
                inner = f"{path}.{key}" if path else key
                if inner in self._seen or len(self._seen) < _MOST_FIELDS:
                    self._seen[inner] += 1
                    self._add(part, inner, depth + 1)
        elif isinstance(value, list):
            for part in value:
                self._add(part, f"{path}[]", depth + 1)

    def against(self, known: Mapping[str, KnownField], used: frozenset[str]) -> list[Change]:
        """What is different from what was ``known``; nothing, if nothing was.

        Args:
            used: paths that the mapping reads.
        """
        if not known:
            return []
        return sorted(self._changes(known, used), key=lambda change: (change.what, change.field))

    def _changes(self, known: Mapping[str, KnownField], used: frozenset[str]) -> Iterator[Change]:
        for path in self._seen:
            if path not in known:
                if len(known) >= _MOST_FIELDS:
                    continue
                kinds = " or ".join(sorted(self._types[path])) or "null"
                yield Change(field=path, what="appeared", detail=kinds, used=path in used)
        for path, field in known.items():
            now, before = self._types.get(path, set()), set(field.types)
            if before and now - before:
                detail = f"was {' or '.join(sorted(before))}, now also {' or '.join(sorted(now - before))}"
                yield Change(field=path, what="changed type", detail=detail, used=path in used)
            # An element of a list has no name that could be missing.
            if field.always and not path.endswith("[]") and self._objects[_parent(path)] and path not in self._seen:
                yield Change(field=path, what="vanished", used=path in used)

    def merged(self, known: Mapping[str, KnownField]) -> dict[str, KnownField]:
        """What is known from now on."""
        merged = dict(known)
        for path in {*self._seen, *self._types}:
            if path not in known and len(known) >= _MOST_FIELDS:
                continue
            before = known.get(path)
            always = self._seen[path] == self._objects[_parent(path)] and (not known or before is None or before.always)
            types = sorted({*self._types.get(path, ()), *(before.types if before else ())})
            merged[path] = KnownField(types=types, always=always)
        for path in known.keys() - self._seen.keys():
            if path in merged and self._objects[_parent(path)]:
                merged[path] = KnownField(types=merged[path].types, always=False)
        return merged


def used_paths(resource: Resource) -> frozenset[str]:
    """The paths of a record that the mapping reads, as :class:`Shape` writes them."""
    found = [resource.incremental.cursor_path, *resource.skip_if, *resource.only_if]
    if isinstance(resource, Orders | Customers):
        found += _flat(where for _, where in resource.fields)
    if isinstance(resource, Orders):
        found += [f"{resource.fields.products}[].{path}" for path in _flat(where for _, where in resource.product)]
    elif isinstance(resource, Customers):
        found += _flat(resource.traits.values())
    return frozenset(found)


def _flat(wheres: Iterable[Where]) -> list[str]:
    return [path for where in wheres for path in ([where] if isinstance(where, str) else where)]


def _parent(path: str) -> str:
    """The object that a field is part of."""
    return path.rpartition(".")[0]
