"""Every error of eva, in one tree. Each says what was given, what was expected, and the next move.

There are two kinds of failure. Infrastructure fails (retried elsewhere, a bounded number of times): an
`InfrastructureError`. Or data are unusable (one prompt is quarantined and the run goes on): never an exception, but a
reason stored with the prompt or response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class EvaError(Exception):
    """Base of every error that eva raises on purpose.

    Args:
        given: what was given or what happened: one sentence without a full stop.
        expected: what would have been right.
        next_move: what the reader can do now: an imperative sentence.
    """

    status: int = 500
    """HTTP status code of the API's response."""

    def __init__(self, given: str, *, expected: str = "", next_move: str = "") -> None:
        self.given, self.expected, self.next_move = given, expected, next_move
        parts = [given, f"Expected {expected}" if expected else "", next_move]
        super().__init__(" ".join(part if part.endswith((".", "?", "!")) else f"{part}." for part in parts if part))


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """A config key with an unusable value: what is allowed, and what was given (shortened)."""

    key: str
    expected: str
    given: str


class InputError(EvaError):
    """The user's input cannot be used. `places` lists the config keys that are wrong, where they are known."""

    status = 422

    def __init__(
        self, given: str, *, expected: str = "", next_move: str = "", places: Sequence[KeyProblem] = ()
    ) -> None:
        super().__init__(given, expected=expected, next_move=next_move)
        self.places = tuple(places)


class ConfigError(InputError):
    """The run's config is invalid."""


class PromptFileError(InputError):
    """A prompt file is missing, malformed or empty."""


class ModelError(InputError):
    """A model folder cannot be loaded, or lacks something that the run needs."""


class NotFoundError(EvaError):
    """There is no such run, prompt or checkpoint."""

    status = 404


class ConflictError(EvaError):
    """The run or checkpoint is in a state that does not allow this."""

    status = 409


class LeaseTakenError(ConflictError):
    """Another driver holds the run."""


class LeaseLostError(ConflictError):
    """This driver no longer holds the run, so it stops without writing anything more."""


class RunStoppedError(EvaError):
    """Somebody paused or cancelled the run, and the driver stopped at a batch boundary."""

    status = 409


class BusyError(EvaError):
    """The limit on simultaneous requests is reached."""

    status = 429


class InfrastructureError(EvaError):
    """A machine, process or service failed; the work itself is valid and may be retried."""

    status = 503


class EngineDiedError(InfrastructureError):
    """An engine stopped responding, and its replacements failed too."""


class NoRoomError(InfrastructureError):
    """No machine of the cluster has room for an engine; the run pauses until one has."""


class RayAwayError(InfrastructureError):
    """Ray did not start, cannot be reached or has ended; the run pauses."""


class LibraryError(InfrastructureError):
    """A library raised something that eva has no better words for."""


class StalledError(InfrastructureError):
    """A stage made no progress for so long that the watchdog ended it."""


class RewarderDiedError(InfrastructureError):
    """The reward model's process keeps dying, whatever the prompt."""


class JudgeError(InfrastructureError):
    """The judge's service failed after all retries, or its budget is spent."""


class CanaryError(InfrastructureError):
    """An engine does not serve the current policy's weights."""


class TrainingFailedError(InfrastructureError):
    """A training job ended without a verified checkpoint."""


class CheckpointError(InfrastructureError):
    """A checkpoint has no valid manifest, or one of its files differs from it."""


class TokenRecordError(InfrastructureError):
    """The record of the sampled tokens is missing, damaged or pruned."""


class StoreError(InfrastructureError):
    """The database cannot be reached or refused to work."""


class StoreAwayError(StoreError):
    """The database did not respond, or asked for a retry: the same transaction may succeed later."""


class DiskFullError(InfrastructureError):
    """The disk that eva writes to is full."""

    status = 507


class StorageError(InfrastructureError):
    """An object store does not answer, or refused a request; the run pauses."""


class MissingObjectError(StorageError):
    """An object store has no such object."""


class EvolverError(InfrastructureError):
    """The evolver's service failed after all retries."""


class ValueRefusedError(EvaError):
    """The database cannot store a value, and a retry would not help."""


def error_kind(error: BaseException) -> str:
    """Who caused an error: "input" (the user's), "infrastructure" (a machine or service), or "eva" (a bug)."""
    if isinstance(error, InfrastructureError):
        return "infrastructure"
    return "input" if isinstance(error, InputError | NotFoundError | ConflictError) else "eva"
