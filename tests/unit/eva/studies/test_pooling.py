"""One study that was played in parts: what its pooled records say, and which parts are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva.errors import ConflictError, InputError
from eva.studies.pooling import pool
from eva.studies.record_files import read_records, recorded, write_records
from eva.studies.records import ContaminationRecord, PolicyRecord, Provenance, RunRecord, Spent, StudyRecords
from eva.studies.report import study_report
from eva.studies.study import StudyConfig
from tests.support.fakes import fake_config

FIGURE = "heldout.hard.sampled.accuracy"


def _part(*seeds: int, **keys: Any) -> StudyRecords:
    config = StudyConfig.model_validate(
        {
            "name": "parts",
            "base": fake_config().model_dump(mode="json"),
            "arms": {"regret": {}, "uniform": {"sampling.sampler": "uniform"}},
            "seeds": seeds,
            "models": ("a", "b"),
            "outcome": {"figure": FIGURE},
        }
        | keys
    )
    runs = tuple(_run(arm, seed, model) for seed in seeds for model in config.models for arm in config.arms)
    provenance = Provenance(("code",), {model: f"weights of {model}" for model in config.models}, ("prompts",))
    found = ContaminationRecord(30, 100 * len(seeds), 0, len(seeds), 0.8, ())
    return StudyRecords(config, config.models, runs, found, provenance)


def _run(arm: str, seed: int, model: str) -> RunRecord:
    draw = np.random.default_rng([seed, ord(model), len(arm)])
    values_P = draw.binomial(4, 0.5 if arm == "regret" else 0.3, 30) / 4
    values_P[seed % 30] = np.nan
    policy = PolicyRecord(2, Spent(800, 8_000, 40, 32, 1.25, 0.5), (16, 16), {FIGURE: values_P})
    return RunRecord(f"{arm}-{seed}", arm, seed, model, "finished", None, (policy,))


def _with_first_run(part: StudyRecords, run: RunRecord) -> StudyRecords:
    return replace(part, runs=(run, *part.runs[1:]))


@pytest.mark.parametrize("compressed", [False, True])
def test_records_in_a_file_give_the_same_report_as_those_in_the_store(compressed: bool, tmp_path: Path) -> None:
    part = _part(0, 1, 2)
    file = tmp_path / "records.json"
    file.write_bytes(write_records(recorded(part), compressed=compressed))
    read = read_records(file)
    assert study_report(read) == study_report(part)
    assert read.provenance == part.provenance
    assert write_records(recorded(read), compressed=compressed) == file.read_bytes()


def test_parts_with_different_seeds_give_the_report_of_the_whole_study() -> None:
    whole, pooled = study_report(_part(0, 1, 2, 3)), study_report(pool({"here": _part(2, 3), "there": _part(0, 1)}))
    assert pooled == whole


def test_parts_with_different_models_and_a_run_that_both_have_count_each_run_once() -> None:
    here, there = _part(0, 1, models=("a",)), _part(0, 1, models=("b",))
    failed = _with_first_run(here, replace(here.runs[0], status="failed", error="an engine died", policies=()))
    pooled = pool({"failed": failed, "here": here, "there": there, "again": here})
    assert pooled.models == ("a", "b") and len(pooled.runs) == 8
    assert {run.status for run in pooled.runs} == {"finished"}
    assert study_report(pooled).planned == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda part: replace(part, config=part.config.model_copy(update={"share_until": 1})), "share_until"),
        (lambda part: replace(part, provenance=replace(part.provenance, models={"a": "others"})), "given model a"),
        (lambda part: replace(part, provenance=replace(part.provenance, heldout=("others",))), "held-out prompts"),
        (lambda part: replace(part, provenance=replace(part.provenance, code=("others",))), "--any-code"),
        (
            lambda part: _with_first_run(part, replace(_run("regret", 9, "a"), seed=0)),
            "both have arm regret on seed 0 of a",
        ),
    ],
)
def test_parts_that_cannot_be_compared_are_refused_with_the_reason(
    change: Callable[[StudyRecords], StudyRecords], words: str
) -> None:
    part = _part(0, 1)
    with pytest.raises(ConflictError, match=words) as refused:
        pool({"here": part, "there": change(part)})
    if "--any-code" in words:
        assert pool({"here": part, "there": change(part)}, any_code=True).provenance.code == ("code", "others")
    else:
        assert "here and there" in str(refused.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "Invalid JSON"),
        (b'{"kind": "eva study records", "schema_version": 2}', "schema_version"),
        (write_records(recorded(_part(0)), compressed=True)[:200], "end early"),
        (write_records(recorded(_part(0)), compressed=False)[:-9], "Invalid JSON"),
    ],
)
def test_a_file_without_records_is_refused_with_the_reason(data: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "records.json"
    file.write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_records(file)
