"""Airflow's side of the project's commands: run one, show what it says in the task's log, and understand its exit code.

The commands run in the main environment, which Airflow's own has nothing of. Each can be run again safely, whatever became
of the run before, so that Airflow may try again by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import BaseOperator, BaseSensorOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from feature_repo.settings import PROJECT_ROOT

_BIN = PROJECT_ROOT / ".venv" / "bin"
# What argparse ends with: trying again would say the same.
_WRONG_ARGUMENT = {2: "the command is called with a wrong argument; see the lines above"}


def module(*words: str) -> list[str]:
    """The command line of ``python -m WORDS`` in the main environment."""
    return [str(_BIN / "python"), "-m", *words]


def feast(*words: str) -> list[str]:
    """The command line of ``feast WORDS`` on the project's feature repository."""
    return [str(_BIN / "feast"), "-c", "feature_repo", *words]


class _Runner:
    """Runs a command and tells apart how it ended.

    Attributes:
        skip: exit codes after which there is no more to do in this run, with what they mean.
        final: exit codes that are failures which trying again would not mend, with what they mean.
    """

    def __init__(self, command: Sequence[str], skip: Mapping[int, str], final: Mapping[int, str]) -> None:
        self.command = list(command)
        self.skip = dict(skip)
        self.final = _WRONG_ARGUMENT | dict(final)
        self._hook = SubprocessHook()

    def run(self, accept: Sequence[int] = ()) -> tuple[int, str]:
        """Exit code, 0 or one of ``accept``, and last line of the output; any other is raised as what it means to Airflow."""
        done = self._hook.run_command(self.command, cwd=str(PROJECT_ROOT))
        code = done.exit_code
        if code == 0 or code in accept:
            return code, done.output
        if code in self.skip:
            # Airflow keeps to itself why a step was skipped.
            self._hook.log.info("Skipped: %s", self.skip[code])
            raise AirflowSkipException(self.skip[code])
        if code in self.final:
            raise AirflowFailException(self.final[code])
        raise AirflowException(f"exit code {code}: {done.output}")

    def stop(self) -> None:
        """End the command, with all that it started."""
        self._hook.send_sigterm()


class Command(BaseOperator):
    """A step that runs a command; its last line is the step's result.

    Args:
        command: the command line; templates are filled in.
        skip: exit codes that are no failure, but after which nothing follows, with what they mean.
        final: exit codes that are failures which trying again would not mend, with what they mean.
    """

    template_fields = ("command",)

    def __init__(
        self, *, command: Sequence[str], skip: Mapping[int, str] = {}, final: Mapping[int, str] = {}, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.command = list(command)
        self.skip = dict(skip)
        self.final = dict(final)

    def execute(self, context: Any) -> str:
        self._runner = _Runner(self.command, self.skip, self.final)
        return self._runner.run()[1]

    def on_kill(self) -> None:
        self._runner.stop()


class CommandSensor(BaseSensorOperator):
    """A step that asks a command again and again, until its exit code is 0.

    Args:
        command: the command line.
        not_yet: the exit code after which it is asked again.
        skip, final: as of :class:`Command`.
    """

    def __init__(
        self,
        *,
        command: Sequence[str],
        not_yet: int,
        skip: Mapping[int, str] = {},
        final: Mapping[int, str] = {},
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.command = list(command)
        self.not_yet = not_yet
        self.skip = dict(skip)
        self.final = dict(final)

    def poke(self, context: Any) -> bool:
        self._runner = _Runner(self.command, self.skip, self.final)
        return self._runner.run(accept=[self.not_yet])[0] == 0

    def on_kill(self) -> None:
        self._runner.stop()
