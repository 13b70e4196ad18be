"""The semantic index agrees with plain cosines; its decisions are exact, however queries are batched and it grew."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from eva.config.run import Novelty
from eva.creator import semantic
from eva.creator.novelty import scope
from eva.creator.semantic import SCALE, SemanticCheck, SemanticIndex, quantise, semantic_twins
from eva.errors import ModelError
from eva.seeds import text_hash
from eva.types import Floats, Message


def vectors(count: int, dimensions: int = 48, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, dimensions)) * np.linspace(0.1, 9, count)[:, None]


def cosines(one: Floats, other: Floats) -> Floats:
    return (one / np.linalg.norm(one, axis=1)[:, None]) @ (other / np.linalg.norm(other, axis=1)[:, None]).T


def filled(held: Floats, scopes: Sequence[int] | None = None, steps: int = 1) -> SemanticIndex:
    index = SemanticIndex()
    for part in np.array_split(np.arange(len(held)), steps):
        index.extend(held[part], [0] * len(part) if scopes is None else [scopes[row] for row in part])
    return index


def test_the_closest_text_is_found_up_to_quantisation() -> None:
    held, asked = vectors(500), vectors(40, seed=1)
    found = filled(held).closest(asked, np.zeros(40, np.int64))
    assert found == pytest.approx(cosines(asked, held).max(axis=1), abs=1e-3)


def test_a_text_has_cosine_1_with_itself_and_minus_1_with_its_opposite() -> None:
    held = vectors(20)
    index = filled(held[:1])
    assert index.closest(held[:1] * 7, np.zeros(1, np.int64)).tolist() == [1.0]
    assert index.closest(-held[:1], np.zeros(1, np.int64)).tolist() == [-1.0]
    assert filled(np.zeros((1, 48))).closest(held[:1], np.zeros(1, np.int64)).tolist() == [0.0]
    assert SemanticIndex().closest(held[:1], np.zeros(1, np.int64)).tolist() == [-1.0]


@pytest.mark.parametrize("dimensions", [3, 384, 4096])
def test_cosines_are_the_same_to_the_last_bit_alone_together_and_in_blocks(
    dimensions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, asked = vectors(50, dimensions), vectors(30, dimensions, seed=1)
    together = filled(held).closest(asked, np.zeros(30, np.int64))
    monkeypatch.setattr(semantic, "_BLOCK", 7)
    pieces = filled(held, steps=9)
    assert len(pieces) == 50
    alone = [pieces.closest(one[None], np.zeros(1, np.int64))[0] for one in asked]
    assert together.tolist() == alone
    whole = quantise(held).astype(np.int64) @ quantise(asked).astype(np.int64).T
    assert np.abs(whole).max() < 2**24
    assert np.array_equal(quantise(held).astype(np.float32) @ quantise(asked).astype(np.float32).T, whole)


def test_the_longest_sums_of_products_stay_where_float32_is_exact() -> None:
    flat = quantise(np.ones((1, 16384)))
    assert int((flat.astype(np.int64) ** 2).sum()) < (SCALE + 64) ** 2 < 2**24


def test_texts_of_other_conversations_do_not_count() -> None:
    held = vectors(3)
    index = filled(held, scopes=[0, 5, 4_000_000_000])
    assert index.closest(np.stack([held[1], held[1], held[2]]), np.array([5, 0, 4_000_000_000]))[[0, 2]].tolist() == [
        1.0,
        1.0,
    ]
    assert index.closest(held[1:2], np.array([0]))[0] < 0.9
    assert index.closest(held[1:2], np.array([77])).tolist() == [-1.0]


def test_twins_of_a_stage_are_those_of_plain_cosines_first_come_first_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    held = np.repeat(rng.normal(size=(12, 24)), 5, axis=0) + 0.25 * rng.normal(size=(60, 24))
    order, scopes = rng.permutation(60), (np.arange(60) % 7 == 0).astype(int).tolist()
    held = held[order]
    plain: list[int | None] = []
    for place in range(60):
        like = (
            other
            for other in range(place)
            if plain[other] is None
            and scopes[other] == scopes[place]
            and cosines(held[place : place + 1], held[other : other + 1])[0, 0] >= 0.9
        )
        plain.append(next(like, None))
    assert 12 < plain.count(None) < 40
    for size in (256, 7):
        monkeypatch.setattr(semantic, "_AT_ONCE", size)
        assert semantic_twins(held, scopes, 0.9) == plain
    # one that has a twin takes nobody with it
    turning = np.array([[1.0, 0.0], [0.8, 0.6], [0.28, 0.96]])
    assert semantic_twins(turning, [0, 0, 0], 0.79) == [None, 0, None]
    assert semantic_twins(np.zeros((0, 4)), [], 0.5) == []
    assert semantic_twins(np.zeros((2, 4)), [0, 0], 0.5) == [None] * 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_with_nan_or_infinity_are_refused(bad: float) -> None:
    with pytest.raises(ModelError, match="NaN or infinity"):
        SemanticIndex().extend(np.array([[1.0, bad]]), [0])


def direction(word: str) -> Floats:
    return np.random.default_rng(abs(text_hash(word))).normal(size=32)


class Words:
    """Gives texts with the same words the same vector."""

    def embed(self, texts: Sequence[str]) -> Floats:
        return np.array([sum(map(direction, text.split())) for text in texts])


def check(*texts: str, similarity: float = 0.9) -> SemanticCheck:
    index = SemanticIndex()
    index.extend(Words().embed(texts), [0] * len(texts))
    return SemanticCheck(index, Words(), similarity)


def test_a_text_with_the_same_meaning_in_the_same_conversation_is_refused() -> None:
    checked = check("name a red fruit", "count to ten")
    assert checked.reason("a red fruit name") == "semantic"
    assert checked.reason("why is the sky blue") is None
    earlier = (Message("user", "Hello"), Message("assistant", "Hi"))
    assert scope(earlier) != 0 and checked.reason("a red fruit name", earlier) is None
    assert check("name a red fruit", similarity=0.2).reason("name a green town") == "semantic"


def test_many_threads_get_the_results_that_each_would_get_alone() -> None:
    checked = check(*(f"prompt number {number} of them" for number in range(200)))
    asked = [
        f"of number {number} prompt them" if number % 3 else f"quite another matter {number}" for number in range(120)
    ]
    alone = [checked.reason(text) for text in asked]
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(checked.reason, asked)) == alone
    assert {*alone} == {"semantic", None}


def test_an_error_reaches_the_thread_that_asked() -> None:
    class Broken(Words):
        def embed(self, texts: Sequence[str]) -> Floats:
            return np.full((len(texts), 32), np.nan)

    index = SemanticIndex()
    index.extend(Words().embed(["a text"]), [0])
    with pytest.raises(ModelError, match="NaN"):
        SemanticCheck(index, Broken(), 0.9).reason("another")


def test_a_similarity_without_a_model_is_refused_and_the_default_is_the_documented_one() -> None:
    with pytest.raises(ValueError, match=r"semantic_similarity is 0.9, but embedding_model is unset"):
        Novelty(semantic_similarity=0.9)
    assert Novelty(embedding_model="x").cosine == 0.95
    assert Novelty(embedding_model="x", semantic_similarity=0.8).cosine == 0.8
