"""One tree of errors. Each says what was given, what was expected, and the next move.

Failures split in two: of infrastructure (retried elsewhere, bounded) and of data (one prompt is
quarantined with its reason, the run goes on). `InfrastructureError` is the first kind; the second
never travels as an exception but as a reason beside the prompt or the response that it spoiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class EvaError(Exception):
    """Base of every error that eva raises on purpose.

    Args:
        given: what was given or what happened, one sentence without its full stop.
        expected: what would have been right.
        next_move: what the reader can do now, an imperative sentence.
    """

    status: int = 500
    """HTTP status code under which the API reports it."""

    def __init__(self, given: str, *, expected: str = "", next_move: str = "") -> None:
        self.given, self.expected, self.next_move = given, expected, next_move
        parts = [given, f"Expected {expected}" if expected else "", next_move]
        super().__init__(" ".join(part if part.endswith((".", "?", "!")) else f"{part}." for part in parts if part))


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """One key of a config that cannot be used: what is allowed there, and what was given, shortened."""

    key: str
    expected: str
    given: str


class InputError(EvaError):
    """What the user gave cannot be used. `places` tells of each key of a config apart, where that is known."""

    status = 422

    def __init__(
        self, given: str, *, expected: str = "", next_move: str = "", places: Sequence[KeyProblem] = ()
    ) -> None:
        super().__init__(given, expected=expected, next_move=next_move)
        self.places = tuple(places)


class ConfigError(InputError):
    """The run's config does not validate."""


class PromptFileError(InputError):
    """A file of prompts is missing, malformed or empty."""


class ModelError(InputError):
    """A model folder cannot be loaded or lacks what the run needs."""


class NotFoundError(EvaError):
    """No such run, prompt or checkpoint."""

    status = 404


class ConflictError(EvaError):
    """The thing is in a state that does not allow this."""

    status = 409


class LeaseTakenError(ConflictError):
    """Another driver holds the run."""


class LeaseLostError(ConflictError):
    """This driver no longer holds the run: it writes nothing more and leaves."""


class RunStoppedError(EvaError):
    """The run was asked to pause or cancel; the driver left at a batch boundary."""

    status = 409


class BusyError(EvaError):
    """As many as are allowed at a time are at it already."""

    status = 429


class InfrastructureError(EvaError):
    """A machine, process or service failed; the work itself is sound and may be retried."""

    status = 503


class EngineDiedError(InfrastructureError):
    """An engine stopped answering and its bounded replacements failed too."""


class NoRoomError(InfrastructureError):
    """No machine of the cluster can host an engine: the run pauses until there is one."""


class StalledError(InfrastructureError):
    """No unit of a stage advanced for so long that the watchdog ended it."""


class RewarderDiedError(InfrastructureError):
    """The reward model's process keeps dying, whatever prompt it is given."""


class JudgeError(InfrastructureError):
    """The judge's service failed after its bounded retries, or its budget is spent."""


class CanaryError(InfrastructureError):
    """An engine serves other weights than those of the current policy."""


class TrainingFailedError(InfrastructureError):
    """A training job ended without a verified checkpoint."""


class CheckpointError(InfrastructureError):
    """A checkpoint lacks a valid manifest, or a file differs from it."""


class StoreError(InfrastructureError):
    """The database cannot be reached or refuses to work."""


class StoreAwayError(StoreError):
    """The database did not answer, or asked to try again: the same transaction may succeed in a while."""


class DiskFullError(InfrastructureError):
    """No space is left where eva writes."""

    status = 507


class EvolverError(InfrastructureError):
    """The evolver's service failed after its bounded retries."""


class ValueRefusedError(EvaError):
    """The database cannot store a value: trying again gives the same answer."""


def error_kind(error: BaseException) -> str:
    """Whose fault an error is: "input" (what was given), "infrastructure" (a machine or service), or "eva" (a bug)."""
    if isinstance(error, InfrastructureError):
        return "infrastructure"
    return "input" if isinstance(error, InputError | NotFoundError | ConflictError) else "eva"
