"""The canary: fixed tokens, the tolerance that fits the engines' precision, no silent mix-up."""

import json
from pathlib import Path

import pytest

from eva.config import Model, Training
from eva.errors import CheckpointError
from tests.support.tiny_models import tokenizer
from workers.training.canary import (
    Canary,
    CanarySequence,
    difference,
    draw_sequences,
    read_canary,
    tolerance,
)

ONE = Canary("float32", 2e-3, (CanarySequence((5, 6, 7), (-1.0, -2.0)),))


@pytest.mark.parametrize(
    ("dtype", "gpu", "factor"),
    [("auto", False, 1), ("float32", True, 1), ("auto", True, 50), ("bfloat16", False, 50), ("float16", True, 50)],
)
def test_half_precision_engines_may_differ_by_fifty_times_as_much(dtype: str, gpu: bool, factor: int) -> None:
    model = Model.model_validate({"path": "x", "dtype": dtype})
    allowed = tolerance(Training(canary_tolerance=1e-3), model, engines_on_gpu=gpu)
    assert allowed == pytest.approx(1e-3 * factor)


def test_the_sequences_are_fixed_ordinary_tokens() -> None:
    words = tokenizer()
    drawn = draw_sequences(words, len(words))
    assert [len(row) for row in drawn] == [16] * 4
    assert drawn == draw_sequences(tokenizer(), len(words))
    assert not {token for row in drawn for token in row} & set(words.all_special_ids)
    assert all(token < 100 for row in draw_sequences(words, 100) for token in row)


def test_a_canary_reads_back(tmp_path: Path) -> None:
    row = {"token_ids": [5, 6, 7], "logprobs": [-1.0, -2.0]}
    written = {"dtype": "float32", "tolerance": 2e-3, "sequences": [row]}
    (tmp_path / "canary.json").write_text(json.dumps(written))
    assert read_canary(tmp_path) == ONE


@pytest.mark.parametrize("content", [None, "{", "{}", '{"dtype": "float32", "tolerance": 1, "sequences": [{}]}'])
def test_a_checkpoint_without_a_valid_canary_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "canary.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"no usable canary\.json"):
        read_canary(tmp_path)


def test_the_difference_is_the_largest_one() -> None:
    other = Canary("float32", 2e-3, (CanarySequence((5, 6, 7), (-1.25, -2.5)),))
    assert difference(ONE, other) == difference(other, ONE) == 0.5


def test_canaries_of_other_tokens_are_not_compared() -> None:
    with pytest.raises(CheckpointError, match="different tokens"):
        difference(ONE, Canary("float32", 2e-3, (CanarySequence((5, 6, 8), (-1.0, -2.0)),)))
