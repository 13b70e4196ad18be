"""Files of a study's records, which take the outcomes of its runs to another machine or into a repository."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from eva.errors import InputError
from eva.studies.files import current_values, validate_study
from eva.studies.records import (
    ContaminationRecord,
    Overlap,
    PolicyRecord,
    Provenance,
    RunRecord,
    Spent,
    StudyRecords,
    heldout_overlap,
)
from eva.studies.schema import HeldoutOverlap, ReportPart

SUFFIXES = (".json", ".json.gz")
RECORDS_SCHEMA = 1


class RecordedCosts(ReportPart):
    """What a run had used when a policy was made, without evaluation."""

    responses: int
    """Responses sampled from its policies."""
    tokens: int
    """Tokens of these responses."""
    pairs: int
    """Preference pairs."""
    steps: int
    """Optimiser steps."""
    seconds: float
    """Seconds in its stages."""
    dollars: float
    """What evolving and rewards had cost, US dollars."""


class RecordedPolicy(ReportPart):
    """An evaluated policy."""

    checkpoint: int
    """Its number: how many iterations had been trained on."""
    spent: RecordedCosts
    """What the run had used when it was made."""
    steps_by_iteration: tuple[int, ...]
    """Optimiser steps of each iteration before it."""
    values: dict[str, list[float | None]]
    """For each held-out figure a value for each held-out prompt, in their order: the mean over its responses."""


class RecordedRun(ReportPart):
    """A run: an arm on a seed and a given model."""

    name: str
    """The run's name in the store that it was played in."""
    arm: str
    """The arm."""
    seed: int
    """The training seed."""
    model: str
    """The given model."""
    status: str
    """The run's status when the records were written."""
    error: str | None
    """Why it failed; null otherwise."""
    policies: tuple[RecordedPolicy, ...]
    """Its evaluated policies, in order."""


class RecordedProvenance(ReportPart):
    """What runs must have in common to be compared, as SHA-256 digests."""

    code: tuple[str, ...]
    """The code that played them: one digest if it was the same."""
    models: dict[str, str]
    """The given models, by name."""
    heldout: tuple[str, ...]
    """The outcome's held-out prompts, in their order: one digest if they were the same."""


class StudyRecordsFile(ReportPart):
    """All that a study's report is made from."""

    kind: Literal["eva study records"] = "eva study records"
    """What the file is."""
    schema_version: int = Field(default=RECORDS_SCHEMA, ge=1, le=RECORDS_SCHEMA)
    """The version of this format."""
    config: dict[str, Any]
    """The study."""
    models: tuple[str, ...]
    """The given models, as the runs name them."""
    runs: tuple[RecordedRun, ...]
    """The runs that have begun."""
    contamination: HeldoutOverlap | None
    """Whether held-out prompts were trained on; null before anything was."""
    provenance: RecordedProvenance
    """What the runs have in common."""


def recorded(records: StudyRecords) -> StudyRecordsFile:
    """Returns the content of a file of these records."""
    return StudyRecordsFile(
        config=records.config.model_dump(mode="json"),
        models=records.models,
        runs=tuple(_recorded_run(run) for run in records.runs),
        contamination=records.contamination and heldout_overlap(records.contamination),
        provenance=RecordedProvenance.model_validate(records.provenance),
    )


def write_records(content: StudyRecordsFile, *, compressed: bool) -> bytes:
    """Returns the bytes of a file: JSON with a line for each run, for readable differences, or that in gzip.

    Equal records give equal bytes.
    """
    values = content.model_dump(mode="json")
    head = json.dumps(values | {"runs": []}, ensure_ascii=False, allow_nan=False)
    before, after = head.split('"runs": []', 1)
    lines = ",\n".join(json.dumps(run, ensure_ascii=False, allow_nan=False) for run in values["runs"])
    data = f'{before}"runs": [\n{lines}\n]{after}\n'.encode()
    return gzip.compress(data, mtime=0) if compressed else data


def read_records(path: Path) -> StudyRecords:
    """Reads a file that `eva study export` has written. Raises InputError, ConfigError."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        content = StudyRecordsFile.model_validate_json(data)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", next_move="Check the path") from error
    except (EOFError, zlib.error) as error:
        raise _no_records(path, "its compressed data end early or are damaged") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _no_records(path, f"{where}: {first['msg']}" if where else first["msg"]) from error
    return records_of(content)


def records_of(content: StudyRecordsFile) -> StudyRecords:
    """Returns the records in a file's content. Raises ConfigError."""
    found, shared = content.contamination, content.provenance
    return StudyRecords(
        validate_study(current_values(content.config)),
        content.models,
        tuple(_run(run) for run in content.runs),
        found and ContaminationRecord(**found.model_dump(exclude={"examples"}), examples=_overlaps(found)),
        Provenance(shared.code, shared.models, shared.heldout),
    )


def _no_records(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} has no study records: {reason}",
        expected="a whole file that `eva study export` of this version has written",
        next_move="Write it again with `eva study export STUDY`",
    )


def _overlaps(found: HeldoutOverlap) -> tuple[Overlap, ...]:
    return tuple(Overlap(trained_on, heldout) for trained_on, heldout in found.examples)


def _recorded_run(run: RunRecord) -> RecordedRun:
    policies = tuple(
        RecordedPolicy(
            checkpoint=policy.checkpoint,
            spent=RecordedCosts.model_validate(policy.spent),
            steps_by_iteration=policy.steps_by_iteration,
            values={
                figure: [None if math.isnan(value) else float(value) for value in values_P]
                for figure, values_P in policy.values.items()
            },
        )
        for policy in run.policies
    )
    return RecordedRun(
        name=run.name,
        arm=run.arm,
        seed=run.seed,
        model=run.model,
        status=run.status,
        error=run.error,
        policies=policies,
    )


def _run(run: RecordedRun) -> RunRecord:
    policies = tuple(
        PolicyRecord(
            policy.checkpoint,
            Spent(**policy.spent.model_dump()),
            policy.steps_by_iteration,
            {
                figure: np.array([math.nan if value is None else value for value in values], dtype=float)
                for figure, values in policy.values.items()
            },
        )
        for policy in run.policies
    )
    return RunRecord(run.name, run.arm, run.seed, run.model, run.status, run.error, policies)
