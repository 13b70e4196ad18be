"""Failpoints: named places in the code where a fault can be injected. They do nothing unless EVA_FAILPOINTS is set.

    EVA_FAILPOINTS="stage.flush.before_commit=kill@3"     kill -9 when the process reaches it the third time
    EVA_FAILPOINTS="engine.*=sleep:2,training.begun=raise"     several entries, and every name that matches

Each process counts for itself. The variable is passed on to the processes that a driver starts. See
docs/reliability.md.
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
    "lease.claim.after_commit": "The run is claimed; its status has not changed yet.",
    "lease.renewed": "The lease's own thread has renewed it once more.",
    "lease.release.before_commit": "The lease is released, but nobody can see it yet.",
    "lease.release.after_commit": "The lease is released: nothing is left to do.",
    "run.status.before_commit": "The run's new status is written, but not committed.",
    "run.status.after_commit": "The run's new status is committed.",
    # the launcher
    "launch.queue.before_commit": "A new run and its place in the queue are written, but not committed.",
    "launch.take.before_commit": "A run is taken from the queue, but nobody can see it yet.",
    "launch.take.after_commit": "A run's next job has a name that Ray does not know yet.",
    "launch.submitted": "Ray has the job of a run's driver, but this is not recorded.",
    "launch.record.before_commit": "The record that Ray has the job is written, but not committed.",
    "launch.record.after_commit": "The record that Ray has the job is committed.",
    "launch.bury.before_commit": "The consequences of a driver's death are written, but not committed.",
    "launch.bury.after_commit": "A dead driver's run waits for another driver, or has failed.",
    # the journal
    "journal.adopt.before_commit": "The initial model is published; its row as checkpoint 0 is not committed.",
    "journal.adopt.after_commit": "The initial model is checkpoint 0.",
    "stage.open.before_commit": "A stage's row is written, but not committed.",
    "stage.open.after_commit": "A stage is open and has done nothing yet.",
    "stage.flush.before_commit": "A batch of results is written, but not committed.",
    "stage.flush.after_commit": "A batch of results is committed; the process still holds it in memory.",
    "stage.keep.before_commit": "An interrupted stage has written the results in memory, but not committed them.",
    "stage.close.before_commit": "A stage's last results and its closed row are written, but not committed.",
    "stage.close.after_commit": "A stage is closed, but this is not announced yet.",
    "chunk.close.before_commit": "A chunk's part of a stage is written, but not committed.",
    "chunk.close.after_commit": "A chunk's part of a stage is committed; what follows has not begun.",
    "stage.left": "One stage is over and the next has not begun.",
    "iteration.finish.before_commit": "The iteration's cost and the next iteration's number are not committed.",
    "iteration.finish.after_commit": "The iteration is finished, the next has not begun.",
    # the stages
    "judge.asked": "The driver knows which prompts lack responses or rewards, and has requested none yet.",
    "judge.response_received": "A prompt's responses are in memory, unrewarded and not stored.",
    "judge.reward_received": "A prompt's rewards are in memory and not stored.",
    "evaluate.response_received": "A held-out prompt's responses are in memory, unrewarded and not stored.",
    "evaluate.reward_received": "A held-out prompt's rewards are in memory and not stored.",
    "audit.reward_received": "The second rewarder's rewards of a prompt are in memory and not stored.",
    "evolve.chain_kept": "A chain of children is in memory and not stored.",
    "evolve.children_numbered": "The children are numbered, in memory only.",
    "pairs.row_written": "The training job's file of pairs is half written.",
    "pairs.file_written": "The training job's file of pairs or responses is complete; no job was dispatched.",
    "train.step_reported": "The driver has received the report of an optimiser step.",
    "chunk.trained": "The driver knows of the weights after a chunk; no engine serves them yet.",
    "train.published": "The driver knows of a new checkpoint that is published but not recorded.",
    "creator.rewarded": "What the creator's replies are worth is known, in memory only.",
    "creator.file_written": "The file of the creator's training job is complete; no job was dispatched.",
    "creator.published": "The driver knows of a new checkpoint of the creator that is not recorded.",
    # evolving ahead
    "ahead.planned": "The next children are planned while the solver is trained; none is evolved by this driver.",
    "ahead.chain_evolved": "A chain of the next children is evolved, in memory only.",
    "ahead.chain_filed": "A chain of the next children is in the driver's file; it is not stored.",
    # the token record
    "tokens.file_unnamed": "A batch's token records are written to a file with a temporary name.",
    "tokens.file_written": "A batch's token records are in a file; the manifest does not name it, nothing is stored.",
    "tokens.prune.before_commit": "Token records that nothing needs are marked as deleted, but this is not committed.",
    "tokens.prune.after_commit": "Token records are marked as deleted; their files are still there.",
    # the fleet, as the driver sees it
    "fleet.load.begun": "The driver is about to have the engines load a policy.",
    "fleet.load.proven": "Every engine has proven that it serves the policy.",
    "dispatch.sent": "Prompts were sent to an engine.",
    "dispatch.received": "An engine's responses are in the driver, but not passed on.",
    "trainer.dispatched": "The training process has received its job.",
    "trainer.answered": "The driver has received the training process's result.",
    # inside the workers' processes
    "engine.opened": "An engine has started and loaded a model.",
    "engine.reloaded": "An engine has reloaded weights or an adapter in place, but not measured its canary.",
    "engine.measured": "An engine has measured its canary, but not reported it.",
    "engine.worked": "An engine has finished responses that nobody has received.",
    "rewarder.asked": "The rewarder's process has received responses.",
    "rewarder.rewarded": "The rewarder's process has rewards that nobody has received.",
    "training.begun": "The training process has a job and has verified the checkpoint that it starts from.",
    "training.trained": "The policy is trained, in memory only.",
    "training.chunk_trained": "The resident trainer has taken a chunk's steps, in memory only.",
    "training.state_stored": "The resident trainer's state after a chunk is on the disk.",
    "checkpoint.written": "A checkpoint's files are in its temporary folder, without a manifest.",
    "checkpoint.sealed": "A checkpoint in its temporary folder has its manifest, but is not renamed.",
    "checkpoint.renamed": "A checkpoint has its final name, but this is not reported.",
}
"""Every failpoint, with the state of a process that has reached it."""

ACTIONS = {
    "kill": "kill -9 of the process; with :FILE only if that file does not exist, and then the file is created",
    "stop": "SIGSTOP: the process freezes until SIGCONT",
    "raise": "an InfrastructureError",
    "sleep": "wait, as in sleep:2 (seconds)",
    "note": "append the time, the process and the point to a file, as in note:FILE",
}
_NEEDS_ARGUMENT, _TAKES_NONE = ("sleep", "note"), ("stop", "raise")


@dataclass
class _Trap:
    """One entry of the variable. `at` says which visit triggers it, counted from 1; None means every visit."""

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
    """This process's failpoints: `traps` is None until the variable has been read."""

    text: str = ""
    traps: list[_Trap] | None = None


_state = _State()


def reach(name: str) -> None:
    """Marks a failpoint: carries out the fault that EVA_FAILPOINTS sets for it, if any."""
    if _state.traps is None:
        arm_from_environment()
    for trap in _state.traps or ():
        if trap.springs(name):
            _act(trap, name)


def arm(text: str) -> None:
    """Sets this process's failpoints from a text like EVA_FAILPOINTS, and restarts the counts. Raises ConfigError."""
    _state.traps = [_read(entry.strip()) for entry in text.split(",") if entry.strip()]
    _state.text = text


def arm_from_environment() -> None:
    """Sets this process's failpoints from EVA_FAILPOINTS. Raises ConfigError."""
    arm(os.environ.get(VARIABLE, ""))


def environment() -> dict[str, str]:
    """Returns the environment variables that give a child process the same failpoints."""
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
            next_move="Choose one from docs/reliability.md, or unset the variable",
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
            f"{VARIABLE} has the invalid entry {entry!r}",
            expected=f"NAME=ACTION or NAME=ACTION@N, where ACTION is one of {', '.join(ACTIONS)} "
            "(sleep:SECONDS, note:FILE) and N counts from 1",
            next_move="Correct it (docs/reliability.md has examples), or unset the variable",
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
                f"the failpoint {name} raised an error because of {VARIABLE}",
                next_move=f"Unset {VARIABLE}, then resume the run",
            )
        case "sleep":
            time.sleep(float(trap.argument))
        case _:
            _append(trap.argument, f"{time.monotonic():.6f} {os.getpid()} {name}\n")


def _first_to_make(path: str) -> bool:
    """Returns whether this process, of all that share the file system, created the file."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def _append(path: str, line: str) -> None:
    # a single write to a file opened for appending is atomic, whoever else writes
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
