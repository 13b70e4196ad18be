"""The checks of new runs in processes of their own, which can be ended when a config asks for too much work."""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, Protocol, Self, TypeVar, cast

from eva.errors import BusyError, InfrastructureError, InputError

MODULE = "orchestrator.launch.check_process"
LIMIT_S = 60.0
"""Seconds that the checks of one config may take: an endpoint may answer slowly, and a model's config be fetched."""
MOST_RUNNING, MOST_WAITING = 2, 2

T = TypeVar("T")


class FunctionCaller(Protocol):
    """Calls a function of a module: here, or in another process."""

    def __call__(self, function: Callable[..., T], /, *arguments: Any) -> T: ...


def call_here(function: Callable[..., T], /, *arguments: Any) -> T:
    """Calls the function in this thread."""
    return function(*arguments)


class CheckProcesses:
    """At most MOST_RUNNING processes, started when they are first needed and kept. Each makes one check at a time.

    As a context manager it ends them; they also end when this process does.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], limit_s: float = LIMIT_S) -> None:
        """`command` runs MODULE, in this environment."""
        self._command, self._environment, self.limit_s = tuple(command), dict(environment), limit_s
        self._places = threading.BoundedSemaphore(MOST_RUNNING + MOST_WAITING)
        self._running = threading.BoundedSemaphore(MOST_RUNNING)
        self._idle: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def run(self, function: Callable[..., T], /, *arguments: Any) -> T:
        """Returns what a function of a module returns for these arguments, and raises what it raises.

        Raises InputError when it takes longer than `limit_s`, and BusyError when too many checks are waiting.
        """
        with self._place():
            process = self._take()
            assert process.stdout is not None
            try:
                _send(process.stdin, (function, arguments))
                if not select.select([process.stdout], [], [], self.limit_s)[0]:
                    raise InputError(
                        f"the checks of this config took longer than {self.limit_s:g} s",
                        expected="a config whose checks are done within that time",
                        next_move="Use fewer prompts, or check that its endpoints and the hub answer; "
                        "`eva run --dry-run` makes the same checks without a limit",
                    )
                error, result = pickle.load(process.stdout)  # noqa: S301 - of our own process
            except (OSError, EOFError) as failure:
                _end(process)
                raise InfrastructureError(
                    f"the process that checks configs ended ({failure or type(failure).__name__})",
                    expected="one that answers",
                    next_move="Send the request again; the log of the service may say more",
                ) from failure
            except BaseException:
                _end(process)
                raise
            with self._lock:
                self._idle.append(process)
        if error is not None:
            raise error
        return cast("T", result)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            _end(process)

    @contextmanager
    def _place(self) -> Generator[None]:
        if not self._places.acquire(timeout=0):
            raise BusyError(
                f"{MOST_RUNNING + MOST_WAITING} configs are being checked",
                expected="fewer at a time",
                next_move="Send the request again in a few seconds",
            )
        try:
            with self._running:  # bounded: the checks before this one have a limit
                yield
        finally:
            self._places.release()

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.poll() is None:
                    return process
                _end(process)
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            # Ctrl-C in the terminal is for the service, which ends this process
            start_new_session=True,
        )


def _send(stream: IO[bytes] | None, value: object) -> None:
    assert stream is not None
    stream.write(pickle.dumps(value))
    stream.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()  # bounded: it was killed
    for stream in (process.stdin, process.stdout):
        with suppress(OSError):
            if stream is not None:
                stream.close()


def answer(requests: IO[bytes], responses: IO[bytes]) -> None:
    """Calls the functions that requests name, one after another, until they end. Errors are answers, too."""
    while True:
        try:
            function, arguments = pickle.load(requests)  # noqa: S301 - of the process that started this one
            reply: tuple[Exception | None, Any] = (None, function(*arguments))
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001 - raised again where the request comes from
            reply = (error, None)
        try:
            _send(responses, reply)
        except (pickle.PicklingError, TypeError, AttributeError):
            _send(responses, (InfrastructureError(f"{type(reply[0]).__name__}: {reply[0]}"), None))


if __name__ == "__main__":
    # what libraries print must not get between the answers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    answer(sys.stdin.buffer, answers)
