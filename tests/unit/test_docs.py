"""What the documentation tells people to type can be typed, and every page can be found."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import re
import shlex
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import pytest
import yaml

from feature_repo.settings import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
TEXTS = [PROJECT_ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
_COMMAND = re.compile(r"^(?:\$ )?(?:export \w+=\S+ && )?(?:\w+=\S* )*(make|time|(?:\.venv/bin/)?python)(?= )")
_INLINE = re.compile(r"(?<!`)`((?:\.venv/bin/)?python -m [^`]+|make [a-z][^`]*)`(?!`)")
# Stand for a word that the reader chooses, and so may stand where a number is wanted.
_CHOSEN = re.compile(r"\.\.\.|…|<[^>]*>|\[[^\]]*\]")


class Command(NamedTuple):
    """Something to type, and where it stands."""

    page: str
    text: str
    whole: bool  # in a block of its own, so that it must be complete


def load_generator() -> ModuleType:
    """The site's hook, which knows all commands."""
    spec = importlib.util.spec_from_file_location("docs_generated", DOCS / "hooks" / "generated.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATED = load_generator()
PROGRAMS: dict[str, argparse.ArgumentParser] = GENERATED.programs()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))


def blocks(text: str) -> Iterator[str]:
    """Lines of fenced and indented blocks; those that a backslash continues are joined."""
    fenced = False
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if re.match(r"\s*(```|~~~)", line):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def commands() -> Iterator[Command]:
    for path in TEXTS:
        text = path.read_text()
        for line in blocks(text):
            for part in re.split(r"&&|\|\||;|(?<!\|)\|(?!\|)", line) if _COMMAND.match(line) else ():
                if _COMMAND.match(part.strip()):
                    yield Command(path.name, part.strip(), True)
        prose = re.sub(r"^( *)(```|~~~).*?^\1\2", "", text, flags=re.MULTILINE | re.DOTALL)
        for found in _INLINE.findall(prose):
            yield Command(path.name, " ".join(found.split()), False)


def problem(command: Command) -> str:
    """What is wrong with a command; empty if nothing is."""
    words = shlex.split(command.text, comments=True)
    while words and (re.match(r"\w+=", words[0]) or words[0] in ("$", "time")):
        words = words[1:]
    if words[0] == "make":
        unknown = {word for word in words[1:] if not word.startswith("-") and "=" not in word} - TARGETS
        return f"there is no target {unknown}" if unknown else ""
    if words[1] != "-m":
        there = (PROJECT_ROOT / words[1]).is_file() or words[1].startswith("-")
        return "" if there else f"there is no file {words[1]}"
    program, arguments = words[2], words[3:]
    if program not in PROGRAMS:
        return "" if importlib.util.find_spec(program) else f"there is no module {program}"
    if _CHOSEN.search(command.text):
        arguments = [word for word in arguments[:1] if not _CHOSEN.search(word)]
    elif command.whole:
        return wrong(PROGRAMS[program], arguments)
    return unknown_words(PROGRAMS[program], arguments)


def wrong(parser: argparse.ArgumentParser, arguments: list[str]) -> str:
    """What the program itself would complain of."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            parser.parse_args(arguments)
    except SystemExit as end:
        return errors.getvalue() if end.code else ""
    return ""


def unknown_words(parser: argparse.ArgumentParser, arguments: list[str]) -> str:
    """Of a command that is only mentioned: its name and options must exist, its arguments may be missing."""
    for word in arguments:
        inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if word.startswith("-"):
            if word.partition("=")[0] not in parser._option_string_actions:
                return f"{parser.prog} has no option {word}"
        elif inner:
            if word not in inner[0].choices:
                return f"{parser.prog} has no command {word}"
            parser = inner[0].choices[word]
    return ""


COMMANDS = sorted(set(commands()))


def test_there_is_something_to_check() -> None:
    assert {page for page, _, _ in COMMANDS} >= {"README.md", "operations.md", "retraining.md", "features.md"}
    assert sum(command.whole for command in COMMANDS) > 20
    assert sum(not command.whole for command in COMMANDS) > 50


@pytest.mark.parametrize(("page", "text", "whole"), COMMANDS)
def test_what_is_to_be_typed_can_be_typed(page: str, text: str, whole: bool) -> None:
    assert problem(Command(page, text, whole)) == ""


@pytest.mark.parametrize(
    "text",
    [
        "make nothing",
        "python -m ingestion nothing",
        "python -m ingestion health --nothing",
        "python -m ingestion replay",  # without its file
        "python -m nothing",
        "python benchmarks/nothing.py",
    ],
)
def test_what_cannot_be_typed_is_noticed(text: str) -> None:
    assert problem(Command("", text, True))


def test_every_page_is_in_the_navigation_once() -> None:
    def targets(entries: list[dict[str, object]]) -> Iterator[str]:
        for entry in entries:
            for target in entry.values():
                if isinstance(target, list):
                    yield from targets(target)
                else:
                    yield str(target)

    listed = list(targets(yaml.safe_load((PROJECT_ROOT / "mkdocs.yml").read_text())["nav"]))
    assert len(listed) == len(set(listed))
    assert {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} | set(GENERATED.pages()) <= set(listed)


def test_generated_pages_say_what_the_code_says() -> None:
    pages = GENERATED.pages()
    assert "| `SHELFWISE_KAFKA__PORT` | `9092` |" in pages["reference/settings.md"]
    assert "| `SHELFWISE_HOME` | `var` |" in pages["reference/settings.md"]
    assert "demo-write-key" not in pages["reference/settings.md"]
    assert str(PROJECT_ROOT) not in "".join(pages.values())
    for name in ("python -m ingestion quarantine replay", "python -m training retrain", "python -m deploy up"):
        assert f"### {name}\n" in pages["reference/commands.md"]
    assert "| `orders_30d` | double | number of Order Completed events" in pages["reference/features.md"]
    assert "make bench-stream" in pages["benchmarks.md"]
    assert "62.7%" in pages["benchmarks.md"] or "| --- |" in pages["benchmarks.md"]
    assert "](docs/" not in pages["index.md"]
