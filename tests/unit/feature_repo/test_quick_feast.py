"""Feast is imported without typeguard's checks, which others keep."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typeguard

import feature_repo  # noqa: F401  (what is tested happens at its import)

_CHECKS_MADE = """
{first}
import feast
print("TypeCheckMemo" in feast.FeatureView.__init__.__code__.co_names)
"""


@pytest.mark.parametrize(("first", "checked"), [("", "True"), ("import feature_repo.settings", "False")])
def test_classes_of_feast_are_left_as_they_are(first: str, checked: str) -> None:
    command = [sys.executable, "-c", _CHECKS_MADE.format(first=first)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == checked, done.stderr


def test_settings_are_read_where_neither_feast_nor_typeguard_is_installed() -> None:
    without = "import sys; sys.modules.update(feast=None, typeguard=None); import feature_repo.settings; print('read')"
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True)
    assert done.stdout.strip() == "read", done.stderr


def test_functions_of_others_are_checked() -> None:
    @typeguard.typechecked
    def double(number: int) -> int:
        return 2 * number

    assert double(2) == 4
    with pytest.raises(typeguard.TypeCheckError):
        double("two")  # type: ignore[arg-type]
