"""Runs a tracking service's package in a child process, so that a hang or crash there does not affect the run.

The packages start threads, patch standard output, delay the end of the process, and need versions of other packages
that conflict with the engines'. EVA_TRACKING_PYTHON names the interpreter of another environment that has them.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eva.config.tracking import Tracking
from eva.errors import ConfigError
from eva.runtime.tracker import Opening, TrackerError, TrackingPoint
from workers.tracking.child import is_installed

CHILD = Path(__file__).with_name("child.py")
END_S = 5.0
INTERPRETER = "EVA_TRACKING_PYTHON"
_PIECE = 2**16


def interpreter() -> str | None:
    """Returns the interpreter of the environment with the services' packages, if it is another one."""
    return os.environ.get(INTERPRETER) or None


def check_tracking(tracking: Tracking) -> str:
    """Returns a line about the service's package. Raises ConfigError if it is missing."""
    python = interpreter()
    if python is None:
        installed = is_installed(tracking.kind)
    else:
        try:
            command = [python, str(CHILD), "--check", tracking.kind]
            done = subprocess.run(command, timeout=60, capture_output=True, env=_environment(python))
            installed = done.returncode == 0
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(
                f"{INTERPRETER} is {python!r}, which does not start: {error}",
                expected="a Python interpreter",
                next_move="Correct or unset it",
            ) from error
    if not installed:
        raise ConfigError(
            f"tracking asks for {tracking.kind}, but {python or 'this environment'} has no such package",
            expected=f"the extra `{tracking.kind}`",
            next_move=f"pip install 'eva-selfplay[{tracking.kind}]', or install {tracking.kind} in an environment of "
            f"its own and name its interpreter: {INTERPRETER} (docs/reference/observability.md)",
        )
    return f"tracking by {tracking.kind}" + (f" ({python})" if python else "")


class TrackerProcess:
    """An `eva.runtime.tracker.Tracker` in a child process, which `open` starts."""

    def __init__(self, tracking: Tracking, *, folder: Path, log: Path, command: Sequence[str] | None = None) -> None:
        """`folder`: for the package's local files. `log`: for its output."""
        self._tracking, self._folder, self._log = tracking, folder, log
        self._command = command or (interpreter() or sys.executable, str(CHILD), tracking.kind)
        self._child: subprocess.Popen[bytes] | None = None

    def open(self, opening: Opening) -> str:
        self.drop()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with self._log.open("ab") as log:
                self._child = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=self._folder,
                    env=_environment(interpreter()),
                    start_new_session=True,
                )
        except OSError as error:
            raise TrackerError(f"{self._command[0]} does not start: {error}") from error
        options = self._tracking.model_dump(mode="json")
        return str(self._ask({"options": options, "opening": asdict(opening)}).get("url", ""))

    def send(self, points: Sequence[TrackingPoint]) -> None:
        self._ask({"points": [asdict(point) for point in points]})

    def close(self, status: str) -> None:
        try:
            self._ask({"close": status})
            if self._child is not None:
                self._child.wait(self._tracking.timeout_s)
        except subprocess.TimeoutExpired:
            raise TrackerError(f"its process did not end within {self._tracking.timeout_s:g} s") from None
        finally:
            self.drop()

    def kill(self) -> None:
        # a thread that waits for it then reads the end of the pipes and closes them
        if (child := self._child) is not None:
            child.kill()

    def drop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait(END_S)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            raise TrackerError("its process was ended")
        try:
            line = _exchange(
                child.stdin.fileno(),
                child.stdout.fileno(),
                json.dumps(asked).encode() + b"\n",
                self._tracking.timeout_s,
            )
            answer: dict[str, Any] = json.loads(line)
        except TimeoutError:
            self.drop()
            raise TrackerError(f"no reply within {self._tracking.timeout_s:g} s (timeout_s)") from None
        except (OSError, ValueError) as error:
            self.drop()
            raise TrackerError(f"its process ended; {self._log} may say why") from error
        if "error" in answer:
            raise TrackerError(answer["error"])
        return answer


def _exchange(to: int, back: int, line: bytes, timeout_s: float) -> bytes:
    """Writes a line and reads one. Raises TimeoutError, and OSError if the other process has ended."""
    until, rest, answer = time.monotonic() + timeout_s, memoryview(line), b""
    os.set_blocking(to, False)
    while rest or b"\n" not in answer:
        readable, writable, _ = select.select([back], [to] if rest else [], [], max(0.0, until - time.monotonic()))
        if not (readable or writable):
            raise TimeoutError
        if writable:
            rest = rest[os.write(to, rest[:_PIECE]) :]
        if readable:
            piece = os.read(back, _PIECE)
            if not piece:
                raise BrokenPipeError
            answer += piece
    return answer


def _environment(python: str | None) -> dict[str, str]:
    """This process's environment without eva's variables and, for another interpreter, without our packages."""
    own = ("PYTHONSAFEPATH", *(("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV") if python else ()))
    return {name: value for name, value in os.environ.items() if not name.startswith("EVA_") and name not in own}
