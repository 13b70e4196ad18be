"""What a study's report is made from: its runs, with the outcomes and costs of their policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from eva.studies.schema import HeldoutOverlap
from eva.studies.study import StudyConfig
from eva.types import Floats


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run had used when a policy was made. `dollars` are for evolving and rewards; evaluation is left out."""

    responses: int = 0
    tokens: int = 0
    pairs: int = 0
    steps: int = 0
    seconds: float = 0.0
    dollars: float = 0.0


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """An evaluated policy: what was spent on it, the steps of each iteration so far, and its held-out figures.

    `values` has, for each figure such as heldout.hard.sampled.accuracy, a value for each held-out prompt in their
    order, [P]: the mean over responses, NaN without any.
    """

    checkpoint: int
    spent: Spent
    steps_by_iteration: tuple[int, ...]
    values: Mapping[str, Floats]

    def mean(self, figure: str) -> float | None:
        """The mean of a figure over the held-out prompts that have it."""
        values_P = self.values.get(figure)
        return None if values_P is None or np.isnan(values_P).all() else float(np.nanmean(values_P))


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run of a study, with its evaluated policies in order."""

    name: str
    arm: str
    seed: int
    model: str
    status: str
    error: str | None
    policies: tuple[PolicyRecord, ...]


@dataclass(frozen=True, slots=True)
class Overlap:
    """A prompt that was trained on and the held-out prompt that it resembles."""

    trained_on: str
    heldout: str


@dataclass(frozen=True, slots=True)
class ContaminationRecord:
    """How many held-out prompts of the outcome equal a prompt that runs trained on, and how many nearly do."""

    heldout: int
    trained_on: int
    equal: int
    near: int
    similarity: float
    examples: tuple[Overlap, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What runs must have in common to be compared, as SHA-256 digests.

    `code`: the code that played them, one digest if it was the same. `models`: the given models, by name, without what
    a machine measured of them. `heldout`: the outcome's held-out prompts, in their order.
    """

    code: tuple[str, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    heldout: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyRecords:
    """All that is known of a study. `models` are the given models as its runs name them."""

    config: StudyConfig
    models: tuple[str, ...]
    runs: tuple[RunRecord, ...]
    contamination: ContaminationRecord | None = None
    provenance: Provenance = Provenance()


def heldout_overlap(record: ContaminationRecord) -> HeldoutOverlap:
    """Returns the part of the report that says whether held-out prompts were trained on."""
    return HeldoutOverlap(
        heldout=record.heldout,
        trained_on=record.trained_on,
        equal=record.equal,
        near=record.near,
        similarity=record.similarity,
        examples=[[each.trained_on, each.heldout] for each in record.examples],
    )
