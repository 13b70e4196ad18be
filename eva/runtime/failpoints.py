"""Failpoints: named places where a fault can be made on purpose. They do nothing unless EVA_FAILPOINTS asks.

    EVA_FAILPOINTS="stage.flush.before_commit=kill@3"     kill -9 of the process when it is there the third time
    EVA_FAILPOINTS="engine.*=sleep:2,training.begun=raise"     several, and all whose names match

Each process counts for itself; the variable reaches those that a driver starts. docs/reliability.md explains.
"""

from __future__ import annotations

import difflib
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from eva.errors import ConfigError, InfrastructureError

VARIABLE = "EVA_FAILPOINTS"

POINTS: dict[str, str] = {
    # the driver and its lease
    "lease.claim.before_commit": "The run is claimed, but nobody can see it yet.",
    "lease.claim.after_commit": "The run is claimed; its status still says what it said before.",
    "lease.renewed": "The lease was renewed once more, on its own thread.",
    "lease.release.before_commit": "The lease is given back, but nobody can see it yet.",
    "lease.release.after_commit": "The lease was given back: nothing is left to do.",
    "run.status.before_commit": "The run's new status is written, but not committed.",
    "run.status.after_commit": "The run's new status is committed.",
    # the launcher
    "launch.queue.before_commit": "A new run and its place in the queue are written, but not committed.",
    "launch.take.before_commit": "A run is taken from the queue, but nobody can see it yet.",
    "launch.take.after_commit": "A run's next job has a name; Ray does not know it.",
    "launch.submitted": "Ray has the job of a run's driver; that is not recorded.",
    "launch.record.before_commit": "It is written that Ray has the job, but not committed.",
    "launch.record.after_commit": "It is recorded that Ray has the job.",
    "launch.bury.before_commit": "What follows from a driver's death is written, but not committed.",
    "launch.bury.after_commit": "A dead driver's run waits for another, or has failed.",
    # the journal
    "journal.adopt.before_commit": "The given model is published; its row as checkpoint 0 is not committed.",
    "journal.adopt.after_commit": "The given model is checkpoint 0.",
    "stage.open.before_commit": "A stage's row is opened, but not committed.",
    "stage.open.after_commit": "A stage is open and has done nothing yet.",
    "stage.flush.before_commit": "A batch of results is written, but not committed.",
    "stage.flush.after_commit": "A batch of results is committed; the process still holds it in memory.",
    "stage.keep.before_commit": "A stage that was interrupted has written what it held, but not committed it.",
    "stage.close.before_commit": "A stage's last results and its closed row are written, but not committed.",
    "stage.close.after_commit": "A stage is closed; nobody was told.",
    "stage.left": "One stage is over and the next has not begun.",
    "iteration.finish.before_commit": "The iteration's cost and the next iteration's number are not committed.",
    "iteration.finish.after_commit": "The iteration is finished, the next has not begun.",
    # what the stages are told
    "judge.asked": "It is known which prompts lack responses or rewards; none was asked for yet.",
    "judge.response_received": "A prompt's responses are in memory, unrewarded and not stored.",
    "judge.reward_received": "A prompt's rewards are in memory and not stored.",
    "evaluate.response_received": "A held-out prompt's responses are in memory, unrewarded and not stored.",
    "evaluate.reward_received": "A held-out prompt's rewards are in memory and not stored.",
    "audit.reward_received": "The second rewarder's rewards of a prompt are in memory and not stored.",
    "evolve.chain_kept": "A chain of children is in memory and not stored.",
    "evolve.children_numbered": "The children have their numbers, in memory alone.",
    "pairs.row_written": "The training job's file of pairs is half written.",
    "pairs.file_written": "The training job's file of pairs is whole; no job was dispatched.",
    "train.step_reported": "The driver has heard of an optimiser step.",
    "train.published": "The driver knows of a new checkpoint that is published and not recorded.",
    # the fleet, as the driver sees it
    "fleet.load.begun": "The engines are about to be told of a policy.",
    "fleet.load.proven": "Every engine has proven that it serves the policy.",
    "dispatch.sent": "Prompts were sent to an engine.",
    "dispatch.received": "An engine's answers are back in the driver, and not handed on.",
    "trainer.dispatched": "The training process was given its job.",
    "trainer.answered": "The training process has given its answer to the driver.",
    # inside the processes of workers
    "engine.opened": "An engine has loaded a model from nothing.",
    "engine.reloaded": "An engine has taken other weights in place; its canary was not measured.",
    "engine.measured": "An engine has measured its canary and not told it.",
    "engine.worked": "An engine holds finished answers that nobody has received.",
    "rewarder.asked": "The rewarder's process was given responses.",
    "rewarder.rewarded": "The rewarder's process holds rewards that nobody has received.",
    "training.begun": "The training process has a job and has verified what it starts from.",
    "training.trained": "The policy is trained, in memory alone.",
    "checkpoint.written": "A checkpoint's files are in its temporary folder, without a manifest.",
    "checkpoint.sealed": "A checkpoint in its temporary folder has its manifest and is not renamed.",
    "checkpoint.renamed": "A checkpoint is at its place; nobody was told.",
}
"""Every failpoint, with what is true of the process that stands there."""

ACTIONS = {
    "kill": "kill -9 of the process; with :FILE only while that file is absent, which is then made",
    "stop": "SIGSTOP: the process freezes until SIGCONT",
    "raise": "an InfrastructureError",
    "sleep": "wait, as in sleep:2 (seconds)",
    "note": "append the time, the process and the point to a file, as in note:FILE",
}
_NEEDS_ARGUMENT, _TAKES_NONE = ("sleep", "note"), ("stop", "raise")


@dataclass
class _Trap:
    """One entry of the variable. `at` is the time at which it acts, counted from 1; None is every time."""

    pattern: str
    action: str
    argument: str
    at: int | None
    seen: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def springs(self, name: str) -> bool:
        if not fnmatchcase(name, self.pattern):
            return False
        with self.lock:
            self.seen += 1
            return self.at in (None, self.seen)


@dataclass
class _State:
    """A process's own: `traps` is None until the variable was read."""

    text: str = ""
    traps: list[_Trap] | None = None


_state = _State()


def reach(name: str) -> None:
    """The process stands at this failpoint: do what was asked for here, if anything was."""
    if _state.traps is None:
        arm_from_environment()
    for trap in _state.traps or ():
        if trap.springs(name):
            _act(trap, name)


def arm(text: str) -> None:
    """Set this process's failpoints as EVA_FAILPOINTS would, counting anew. Raises ConfigError."""
    _state.traps = [_read(entry.strip()) for entry in text.split(",") if entry.strip()]
    _state.text = text


def arm_from_environment() -> None:
    """Set this process's failpoints by EVA_FAILPOINTS. Raises ConfigError."""
    arm(os.environ.get(VARIABLE, ""))


def environment() -> dict[str, str]:
    """What a process that this one starts needs in its environment to have the same failpoints."""
    return {VARIABLE: _state.text} if _state.text else {}


def _read(entry: str) -> _Trap:
    name, _, rest = entry.partition("=")
    rest, _, count = rest.rpartition("@") if rest.rpartition("@")[2].isdigit() else (rest, "", "")
    action, _, argument = rest.partition(":")
    if not any(fnmatchcase(point, name) for point in POINTS):
        nearest = ", ".join(difflib.get_close_matches(name, POINTS, 3, 0.0))
        raise ConfigError(
            f"{VARIABLE} names a failpoint {name!r} that does not exist",
            expected=f"one of {len(POINTS)} names; the nearest are {nearest}",
            next_move="docs/reliability.md lists them; unset the variable to do without",
        )
    unusable = (
        action not in ACTIONS
        or count == "0"
        or (action in _NEEDS_ARGUMENT and not argument)
        or (action in _TAKES_NONE and argument)
        or (action == "sleep" and not _is_number(argument))
    )
    if unusable:
        raise ConfigError(
            f"{VARIABLE} asks for {entry!r}",
            expected=f"NAME=ACTION or NAME=ACTION@N, where ACTION is one of {', '.join(ACTIONS)} "
            "(sleep:SECONDS, note:FILE) and N counts from 1",
            next_move="docs/reliability.md has examples; unset the variable to do without",
        )
    return _Trap(name, action, argument, int(count) if count else None)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _act(trap: _Trap, name: str) -> None:
    match trap.action:
        case "kill":
            if not trap.argument or _first_to_make(trap.argument):
                os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise InfrastructureError(
                f"the failpoint {name} raised, as {VARIABLE} asks", next_move=f"Unset {VARIABLE}, then resume the run"
            )
        case "sleep":
            time.sleep(float(trap.argument))
        case _:
            _append(trap.argument, f"{time.monotonic():.6f} {os.getpid()} {name}\n")


def _first_to_make(path: str) -> bool:
    """Whether this process, of all that share the file system, made the file."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    return True


def _append(path: str, line: str) -> None:
    # One write of a line to a file opened for appending is whole, whoever else writes.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
