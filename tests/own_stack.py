"""A stack of the tests' own: a home and ports that meet no other stack on this machine."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from feature_repo.settings import ENV_PREFIX, HOME_VARIABLE, PROJECT_ROOT, get_settings

PORT_VARIABLES = tuple(
    f"{ENV_PREFIX}{name}"
    for name in (
        "KAFKA__PORT",
        "KAFKA__CONTROLLER_PORT",
        "REDIS__PORT",
        "COLLECTOR__PORT",
        "SERVING__PORT",
        "HEALTH__PORT",
        "CONNECT__PORT",
        "AUTOMATION__PORT",
    )
)
MODELS_VARIABLE = "BENTOML_HOME"
# Below the range from which the system gives ports to outgoing connections, which could take one in between.
PORT_RANGE = range(20_000, 32_000)
TIMEOUT_SECONDS = 300
# On a machine that runs other tests as well, an answer within the default deadline may have to do without something.
PATIENT = {
    f"{ENV_PREFIX}SERVING__DEADLINE_MS": "5000",
    f"{ENV_PREFIX}SERVING__READ_TIMEOUT_MS": "500",
    f"{ENV_PREFIX}STREAM__NICENESS": "0",  # nor shall a stream wait for those tests
}


def variables_of(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings by the end of their variables' names, for example ``SERVING__DEADLINE_MS``, as environment variables."""
    return {f"{ENV_PREFIX}{name}": str(value) for name, value in settings.items()}


@dataclass(frozen=True)
class OwnStack:
    """The variables that set a stack apart, and ``python -m deploy`` run with them."""

    variables: Mapping[str, str]

    @classmethod
    def at(cls, home: Path) -> OwnStack:
        """A stack in an empty folder, on ports that are free now."""
        ports = zip(PORT_VARIABLES, free_ports(len(PORT_VARIABLES)), strict=True)
        return cls({HOME_VARIABLE: str(home), **PATIENT, **{variable: str(port) for variable, port in ports}})

    @property
    def home(self) -> Path:
        return Path(self.variables[HOME_VARIABLE])

    def port(self, name: str) -> int:
        """A port by the middle of its variable's name, for example ``REDIS__PORT``."""
        return int(self.variables[ENV_PREFIX + name])

    def environment(self) -> dict[str, str]:
        """Environment for a process of this stack: no other setting of the calling shell gets in."""
        others = {name: value for name, value in os.environ.items() if not _is_setting(name)}
        return {**others, **self.variables}

    @contextmanager
    def exported(self) -> Iterator[None]:
        """This process has the settings of this stack and no others, for a while."""
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if _is_setting(name)]:
                patch.delenv(name)
            # Storing a model sets it, too: it shall not outlive this stack.
            patch.setenv(MODELS_VARIABLE, str(self.home / "bentoml"))
            for name, value in self.variables.items():
                patch.setenv(name, value)
            get_settings.cache_clear()
            try:
                yield
            finally:
                get_settings.cache_clear()

    def deploy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the stack to its end; its output, errors included, is in ``stdout``."""
        with self.start(*arguments) as process:
            try:
                output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
            finally:
                process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command on the stack without waiting for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "deploy", *arguments],
            cwd=PROJECT_ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def _is_setting(variable: str) -> bool:
    return variable.startswith(ENV_PREFIX) or variable == MODELS_VARIABLE


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    free = (port for port in random.sample(PORT_RANGE, 500) if _is_free(port))
    return [next(free) for _ in range(count)]


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
