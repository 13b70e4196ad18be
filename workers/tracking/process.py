"""A tracking service's package runs in a process of its own: what hangs there is killed, what crashes crashes there.

The packages start threads, patch standard output, wait at the end of the process, and ask for versions of other
packages that the engines cannot have: none of that comes near a run. EVA_TRACKING_PYTHON names the interpreter of
another environment that has them.
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
from eva.runtime.tracker import Opening, Point, TrackerError
from workers.tracking.child import is_installed

CHILD = Path(__file__).with_name("child.py")
END_S = 5.0
INTERPRETER = "EVA_TRACKING_PYTHON"
_PIECE = 2**16


def interpreter() -> str | None:
    """That of another environment, which has the services' packages."""
    return os.environ.get(INTERPRETER) or None


def check_tracking(tracking: Tracking) -> str:
    """Raise ConfigError where the package of a service is missing; what is there, as a fact."""
    python = interpreter()
    if python is None:
        found = is_installed(tracking.kind)
    else:
        try:
            asked = [python, str(CHILD), "--check", tracking.kind]
            found = subprocess.run(asked, timeout=60, capture_output=True, env=_environment(python)).returncode == 0
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(
                f"{INTERPRETER} is {python!r}, which does not start: {error}",
                expected="a Python interpreter",
                next_move="Correct or unset it",
            ) from error
    if not found:
        raise ConfigError(
            f"tracking asks for {tracking.kind}, but {python or 'this environment'} has no such package",
            expected=f"the extra `{tracking.kind}`",
            next_move=f"pip install 'eva-selfplay[{tracking.kind}]', or install {tracking.kind} in an environment of "
            f"its own and name its interpreter: {INTERPRETER} (docs/reference/observability.md)",
        )
    return f"tracking by {tracking.kind}" + (f" ({python})" if python else "")


class TrackerProcess:
    """`eva.runtime.tracker.Tracker` over a child process, started by `open`."""

    def __init__(self, tracking: Tracking, *, folder: Path, log: Path, command: Sequence[str] | None = None) -> None:
        """`folder` is where a package keeps what it keeps on this machine; `log` takes what it prints."""
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

    def send(self, points: Sequence[Point]) -> None:
        self._ask({"points": [asdict(point) for point in points]})

    def close(self, status: str) -> None:
        try:
            self._ask({"close": status})
            if self._child is not None:
                self._child.wait(self._tracking.timeout_s)
        except subprocess.TimeoutExpired:
            raise TrackerError(f"it did not end within {self._tracking.timeout_s:g} s") from None
        finally:
            self.drop()

    def kill(self) -> None:
        # who waits for it finds its pipes at their end, and puts them away
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
            raise TrackerError(f"nothing came back within {self._tracking.timeout_s:g} s (timeout_s)") from None
        except (OSError, ValueError) as error:
            self.drop()
            raise TrackerError(f"its process ended; {self._log} may say why") from error
        if "error" in answer:
            raise TrackerError(answer["error"])
        return answer


def _exchange(to: int, back: int, line: bytes, timeout_s: float) -> bytes:
    """Write a line and read one. Raises TimeoutError, and OSError when the other side is gone."""
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
