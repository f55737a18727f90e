"""Pages of the site that are made when it is built: from README.md, and from the code that they describe.

What they say has one home, so that it cannot grow old beside it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic import BaseModel, SecretStr

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import deploy.command_line  # noqa: E402
import ingestion.__main__  # noqa: E402
import serving.__main__  # noqa: E402
import training.__main__  # noqa: E402
from feature_repo import aggregates, tables  # noqa: E402
from feature_repo.sections.section import Section  # noqa: E402
from feature_repo.settings import ENV_PREFIX, Settings  # noqa: E402

FIGURES = "How fast, how good"
_WIDTH = "100"


def on_config(config: Any) -> Any:
    """Leave pages out of the navigation that this checkout does not have."""
    config.nav = _present(config.nav, Path(config.docs_dir))
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> dict[str, str]:
    """Every generated page by its path in the site."""
    first, figures = _parted(ROOT.joinpath("README.md").read_text())
    return {
        "index.md": first,
        "benchmarks.md": f"{figures}\n{_benchmarks()}",
        "reference/settings.md": _settings(),
        "reference/commands.md": _commands(),
        "reference/features.md": _features(),
    }


def programs() -> dict[str, argparse.ArgumentParser]:
    """The parser of every ``python -m ...``, with all commands in full."""
    return {
        "ingestion": ingestion.__main__.build_parser(list(ingestion.__main__.COMMANDS)),
        "training": training.__main__.build_parser(list(training.__main__.COMMANDS)),
        "serving": serving.__main__.build_parser(),
        "deploy": deploy.command_line.build_parser(),
    }


def subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser, and those of its commands and their commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from subcommands(command)


def _present(entries: list[Any], folder: Path) -> list[Any]:
    made, kept = set(pages()), []
    for entry in entries:
        ((title, target),) = entry.items()
        if isinstance(target, list):
            if inner := _present(target, folder):
                kept.append({title: inner})
        elif target in made or (folder / target).exists():
            kept.append(entry)
    return kept


def _parted(readme: str) -> tuple[str, str]:
    """README.md without its figures, and the figures; with links as from within the docs folder."""
    text = readme.replace("](docs/", "](").replace("[docs/", "[")
    start = text.index(f"## {FIGURES}")
    end = text.index("\n## ", start) + 1
    return text[:start] + text[end:], text[start:end].replace(f"## {FIGURES}", f"# {FIGURES}")


def _benchmarks() -> str:
    targets = re.findall(r"^(bench-[a-z-]+):.*## (.*)$", ROOT.joinpath("Makefile").read_text(), re.MULTILINE)
    rows = [f"| `make {name}` | {_cell(what)} |" for name, what in targets]
    return "\n".join(["## Measuring it yourself", "", "| command | what |", "| --- | --- |", *rows, ""])


def _settings() -> str:
    lines = [
        "# Settings",
        "",
        "Made from `feature_repo/sections/` and `feature_repo/settings.py`. "
        "Set them by environment variable or in `shelfwise.toml`; "
        "`.venv/bin/python -m feature_repo.settings` prints them as they are now.",
    ]
    top = {name: field for name, field in Settings.model_fields.items() if not _is_section(field.annotation)}
    lines += ["", *_table_of(top, Settings, ENV_PREFIX)]
    for name, section, prefix in _sections(Settings, ENV_PREFIX):
        about = " ".join((section.__doc__ or "").replace("``", "`").split())
        lines += ["", f"## {name}", "", about, ""]
        fields = {key: field for key, field in section.model_fields.items() if not _is_section(field.annotation)}
        lines += _table_of(fields, section, prefix)
    return "\n".join(lines) + "\n"


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _sections(model: type[BaseModel], prefix: str, path: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    for name, field in model.model_fields.items():
        if _is_section(field.annotation):
            section: Any = field.annotation
            yield path + name, section, f"{prefix}{name.upper()}__"
            yield from _sections(section, f"{prefix}{name.upper()}__", f"{path}{name}.")


def _table_of(fields: dict[str, Any], model: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for name, field in fields.items():
        value = field.get_default(call_default_factory=True)
        if isinstance(value, SecretStr):
            shown = "secret" if value.get_secret_value() else ""
        else:
            shown = str(value.relative_to(ROOT)) if isinstance(value, Path) else str(getattr(value, "value", value))
        default = f"`{shown}`" if shown else "empty"
        rows.append(f"| `{prefix}{name.upper()}` | {default} | {_cell(field.description or '')} |")
    return ["| variable | default | meaning |", "| --- | --- | --- |", *rows]


def _commands() -> str:
    lines = ["# Commands", "", "What `--help` says of each. `make help` lists the shortcuts for every day."]
    with patch.dict(os.environ, {"COLUMNS": _WIDTH}):
        for parser in programs().values():
            for place, command in enumerate(subcommands(parser)):
                heading = "##" if place == 0 else "###"
                lines += ["", f"{heading} {command.prog}", "", "```text", command.format_help().rstrip(), "```"]
    return "\n".join(lines) + "\n"


def _features() -> str:
    lines = [
        "# Features",
        "",
        "Made from `feature_repo/aggregates.py` and `feature_repo/tables.py`. [Features](../features.md) says what they mean.",
    ]
    about = {aggregate.name: aggregate.description for aggregate in aggregates.DECAYED_SUMS}
    for table in (table for table in tables.ALL_TABLES if table.view):
        lines += ["", f"## {table.view}", "", f"{table.description.capitalize()}.", ""]
        lines += ["| column | type | what |", "| --- | --- | --- |"]
        lines += [
            f"| `{column.name}` | {column.type} | {_cell(about.get(column.name, ''))} |" for column in table.schema
        ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
