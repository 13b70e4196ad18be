"""The canary: fixed tokens, the tolerance that fits the engines' precision, no silent mix-up."""

import json
from pathlib import Path

import pytest

from eva.config import Model, Training
from eva.errors import CheckpointError
from tests.support.tiny_models import tokenizer
from workers.models.chat_template import load_tokenizer, read_prompting
from workers.playground import MODEL_DIR
from workers.training.canary import (
    Canary,
    CanarySequence,
    canary_tokens,
    difference,
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


def test_the_sequences_are_ordinary_text_for_a_tokenizer_that_knows_it() -> None:
    words = tokenizer()
    rows = canary_tokens(words, len(words))
    assert len(rows) == 8 and {len(row) for row in rows} == {64}
    assert rows == canary_tokens(tokenizer(), len(words))
    assert str(words.decode(rows[0])).startswith("<bos>The harbour lay quiet in the early morning. Two")
    assert [row[:20] for row in rows] == canary_tokens(words, len(words), 20), "a short context gets the beginnings"


def test_the_sequences_are_drawn_from_the_vocabulary_where_the_tokenizer_does_not_know_ordinary_text() -> None:
    playground = load_tokenizer(str(MODEL_DIR), read_prompting(Model(path=str(MODEL_DIR))))
    rows = canary_tokens(playground, len(playground))
    assert len(rows) == 8 and {len(row) for row in rows} == {64}
    assert all(row[0] == playground.bos_token_id for row in rows)
    drawn = {token for row in rows for token in row[1:]}
    assert len(drawn) > 30 and not drawn & {*playground.all_special_ids, *playground.added_tokens_decoder}
    assert rows == canary_tokens(playground, len(playground))
    words = tokenizer()
    assert all(token < 40 for row in canary_tokens(words, 40) for token in row), "a model may know fewer tokens"


def test_engines_with_a_short_context_get_the_beginnings() -> None:
    long = Canary("float32", 2e-3, (CanarySequence((5, 6, 7, 8), (-1.0, -2.0, -3.0)),))
    assert long.fitting(3) == ONE and long.fitting(64) == long


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
