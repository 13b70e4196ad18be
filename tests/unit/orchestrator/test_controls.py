"""The paper's controls: the same prompts again, new ones in every iteration, and sampled ones that are not evolved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eva.errors import ConfigError, InputError
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.session import Store
from tests.support.decisions import decisions
from tests.support.fakes import Recorder, always, fake_config, fake_roles
from workers.evolvers import build_evolver

WITHOUT_CREATOR = ["judge_batch", "audit", "pair", "train", "evaluate"]
CONTROLS: dict[str, tuple[dict[str, int], list[list[int]]]] = {
    "same_prompts": ({"playground": 24}, [[*range(24)]] * 3),
    "new_prompts": ({"playground": 30, "per_iteration": 8}, [[*range(8)], [*range(8, 16)], [*range(16, 24)]]),
}


@pytest.mark.parametrize("warm_start", [True, False])
@pytest.mark.parametrize("batch_from", CONTROLS)
def test_every_iteration_trains_on_the_same_prompts_or_on_new_ones_and_nothing_is_evolved(
    batch_from: str, warm_start: bool, store: Store, tmp_path: Path
) -> None:
    prompts, expected = CONTROLS[batch_from]
    run = register_run(store, fake_config(batch_from=batch_from, prompts=prompts, warm_start=warm_start))
    heard = Recorder()
    drive(store, Settings(tmp_path, None, None), run, heard, build=always(fake_roles()), ttl_s=2.0)
    assert heard.stages[1:] == [(number, stage) for number in range(3) for stage in WITHOUT_CREATOR]
    played: dict[str, Any] = decisions(store, run)
    assert [[row.prompt for row in played["batches"][number]] for number in range(3)] == expected
    assert all(prompt.parent is None for prompt in played["prompts"])


def test_new_prompts_for_more_iterations_than_the_file_has_are_refused_before_a_run_is_made(store: Store) -> None:
    config = fake_config(batch_from="new_prompts", prompts={"playground": 24, "per_iteration": 8}, iterations=4)
    with pytest.raises(InputError, match=r"24 seed prompts are too few for 4 iterations with 8 new ones each"):
        register_run(store, config)


def test_a_slice_without_its_source_is_refused_and_the_other_way_round() -> None:
    for changes in ({"batch_from": "new_prompts"}, {"prompts": {"playground": 24, "per_iteration": 8}}):
        with pytest.raises(ConfigError, match="need each other"):
            fake_config(**changes)


def test_sampled_prompts_that_are_not_evolved_enter_the_batch_as_copies(store: Store, tmp_path: Path) -> None:
    config = fake_config(evolving={"evolver": {"kind": "copy"}}, iterations=2, prompts={"playground": 24})
    run = register_run(store, config)
    roles = fake_roles(evolver=build_evolver(config.evolving))
    drive(store, Settings(tmp_path, None, None), run, Recorder(), build=always(roles), ttl_s=2.0)
    played: dict[str, Any] = decisions(store, run)
    prompts = played["prompts"]
    copies = [prompt for prompt in prompts if prompt.parent is not None]
    sampled = [row.prompt for row in played["estimates"][1] if row.sampled]
    assert sorted(copy.parent for copy in copies) == sorted(4 * sampled)
    assert all(
        copy.text == prompts[copy.parent].text and copy.operator == "copy" and copy.depth == 1 for copy in copies
    )
    batch = played["batches"][1]
    assert len(batch) == 24 and sum(not row.buffer for row in batch) == 20
    with pytest.raises(ConfigError, match="evolver copy uses none"):
        fake_config(evolving={"evolver": {"kind": "copy"}, "operators": ["breadth"]})
