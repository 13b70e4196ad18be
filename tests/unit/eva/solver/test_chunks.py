from typing import Any

import pytest

from eva.config.solver import Training
from eva.errors import ConfigError
from eva.solver.chunks import Chunk, cut_batch
from tests.support.fakes import fake_config

BATCH = [number * 3 for number in range(50)]


def training(**changes: Any) -> Training:
    return Training.model_validate({"batch": 4, "epochs": 2, "sync_every": 8} | changes)


def cut(batch: list[int], settings: Training, *, seed: int = 7, iteration: int = 1) -> list[Chunk]:
    return cut_batch(batch, settings.chunk_rows, settings.steps_on, seed=seed, iteration=iteration)


def test_every_prompt_is_in_exactly_one_chunk_and_the_last_one_takes_what_is_left() -> None:
    chunks = cut(BATCH, training())
    assert [len(chunk.prompts) for chunk in chunks] == [16, 16, 16, 2]
    assert sorted(number for chunk in chunks for number in chunk.prompts) == BATCH
    assert [chunk.before for chunk in chunks] == [0, 16, 32, 48]
    assert [chunk.following for chunk in chunks] == [*(chunk.prompts for chunk in chunks[1:]), ()]
    assert [chunk.first for chunk in chunks] == [True, False, False, False]
    assert [chunk.last for chunk in chunks] == [False, False, False, True]


def test_a_full_chunk_takes_sync_every_steps_over_all_its_epochs() -> None:
    for changes in ({}, {"epochs": 1}, {"epochs": 4, "sync_every": 4}, {"batch": 8, "sync_every": 2}):
        settings = training(**changes)
        first = cut(BATCH, settings)[0]
        assert first.steps == settings.sync_every and len(first.prompts) == settings.chunk_rows


def test_the_order_is_drawn_from_the_seed_and_the_iteration() -> None:
    first, same, other, later = (
        [chunk.prompts for chunk in cut(BATCH, training(), seed=seed, iteration=iteration)]
        for seed, iteration in ((7, 1), (7, 1), (8, 1), (7, 2))
    )
    assert first == same != other and first != later
    assert first[0] != tuple(BATCH[:16])


def test_a_batch_that_is_not_cut_is_one_chunk_in_its_own_order() -> None:
    for settings in (training(sync_every=None), training(enabled=False)):
        (whole,) = cut(BATCH, settings)
        assert whole.prompts == tuple(BATCH) and whole.first and whole.last and not whole.cut


def test_a_batch_smaller_than_a_chunk_is_one_chunk() -> None:
    (only,) = cut(BATCH[:3], training())
    assert only.prompts == tuple(BATCH[:3]) and only.cut and only.last and only.steps == 2
    (none,) = cut([], training())
    assert none.prompts == () and none.last


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sync_every": 3}, "must be a multiple of a whole number of epochs"),
        ({"sync_every": 3, "epochs": 1.5}, "must be a multiple of a whole number of epochs"),
        ({"sync_every": 4, "mode": "scratch"}, "no newest policy to answer the next chunk"),
        ({"sync_every": 4, "max_steps": 10}, "use step_limit"),
        ({"state_every": 4}, "state_every is set, but sync_every is not"),
        ({"keep_synced": True}, "keep_synced is set, but sync_every is not"),
        ({"sync_every": 4, "state_every": 2, "optimiser": "adamw_8bit"}, "adamw or rmsprop, not adamw_8bit"),
    ],
)
def test_a_config_that_cannot_be_cut_is_refused_with_the_reason(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fake_config(training=changes)
