"""Pools the records of one study that was played in parts: some seeds or given models here, others elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eva.errors import ConflictError
from eva.studies.plan import study_differences
from eva.studies.records import ContaminationRecord, Provenance, RunRecord, StudyRecords

Place = tuple[int, str, str]
"""A run's seed, given model and arm."""


def pool(parts: Mapping[str, StudyRecords], *, any_code: bool = False) -> StudyRecords:
    """Returns the records of all parts as those of one study; `parts` has them by what they are called in messages.

    The parts may differ in seeds and given models alone. A run that several parts have counts once: a finished one
    before one that is not. Raises ConflictError when the parts cannot be compared: another config, other given models
    or held-out prompts under the same name, other code unless `any_code`, or two finished runs in one place with
    different outcomes.
    """
    (first_name, first), *others = parts.items()
    for name, part in others:
        _require_comparable(first_name, first, name, part, any_code=any_code)
    models = tuple(dict.fromkeys(model for part in parts.values() for model in part.models))
    seeds = tuple(sorted({seed for part in parts.values() for seed in part.config.seed_list}))
    planned: dict[str, Any] = {} if seeds == tuple(first.config.seed_list) else {"seeds": seeds}
    if first.config.models and models != tuple(first.config.models):
        planned["models"] = models
    return StudyRecords(
        first.config.model_copy(update=planned),
        models,
        _runs(parts),
        _contamination([part.contamination for part in parts.values() if part.contamination is not None]),
        Provenance(
            tuple(dict.fromkeys(digest for part in parts.values() for digest in part.provenance.code)),
            {name: digest for part in parts.values() for name, digest in part.provenance.models.items()},
            tuple(dict.fromkeys(digest for part in parts.values() for digest in part.provenance.heldout)),
        ),
    )


def _require_comparable(first_name: str, first: StudyRecords, name: str, part: StudyRecords, *, any_code: bool) -> None:
    def refuse(what: str, expected: str, next_move: str) -> ConflictError:
        return ConflictError(
            f"{first_name} and {name} cannot be pooled: {what}", expected=expected, next_move=next_move
        )

    if differences := study_differences(_shared_config(first), _shared_config(part)):
        listed = "\n".join(f"  {line}" for line in differences)
        raise refuse(
            f"their configs differ (the study is {first_name}, the file {name}):\n{listed}\n",
            "parts of one study, which differ in seeds and models alone",
            "Show them apart",
        )
    one, other = first.provenance, part.provenance
    if changed := sorted(
        model for model in one.models if other.models.get(model, one.models[model]) != one.models[model]
    ):
        raise refuse(
            f"the given model {changed[0]} was not the same in both",
            "the same weights under the same name",
            "Play one part again from the model of the other",
        )
    if one.heldout and other.heldout and one.heldout != other.heldout:
        raise refuse("their held-out prompts differ", "the same held-out prompts", "Play one part again")
    if not any_code and one.code and other.code and {*one.code} != {*other.code}:
        raise refuse(
            "they were played by different code, which could count as the arms' doing",
            "one program for all runs of a study",
            "Play the missing runs with the older code, or add --any-code to pool them anyway",
        )


def _shared_config(records: StudyRecords) -> dict[str, Any]:
    return records.config.model_dump(mode="json", exclude={"seeds", "models"})


def _runs(parts: Mapping[str, StudyRecords]) -> tuple[RunRecord, ...]:
    found: dict[Place, tuple[str, RunRecord]] = {}
    for name, part in parts.items():
        for run in part.runs:
            place = run.seed, run.model, run.arm
            if place not in found:
                found[place] = name, run
                continue
            first_name, first = found[place]
            if first.status != "finished":
                found[place] = name, run
            elif run.status == "finished" and not _same_outcome(first, run):
                raise ConflictError(
                    f"{first_name} and {name} both have arm {run.arm} on seed {run.seed} of {run.model}, with "
                    "different outcomes",
                    expected="the same outcome from the same run, or different runs",
                    next_move="Leave one of them out; which one, is yours to say before you look at its outcome",
                )
    return tuple(run for _, (_, run) in sorted(found.items()))


def _same_outcome(one: RunRecord, other: RunRecord) -> bool:
    if [policy.checkpoint for policy in one.policies] != [policy.checkpoint for policy in other.policies]:
        return False
    return all(
        first.values.keys() == second.values.keys()
        and all(np.array_equal(first.values[key], second.values[key], equal_nan=True) for key in first.values)
        for first, second in zip(one.policies, other.policies, strict=True)
    )


def _contamination(found: Sequence[ContaminationRecord]) -> ContaminationRecord | None:
    """The sums over the parts: prompts that several parts trained on are counted in each."""
    if not found:
        return None
    return ContaminationRecord(
        max(each.heldout for each in found),
        sum(each.trained_on for each in found),
        sum(each.equal for each in found),
        sum(each.near for each in found),
        found[0].similarity,
        tuple(example for each in found for example in each.examples)[:3],
    )
