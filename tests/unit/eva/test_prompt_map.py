"""On the map of prompts, similar texts are near each other and positions are stable; its fidelity is as defined."""

from __future__ import annotations

import random

import numpy as np
import pytest

from eva.prompt_map.projection import IterationPrompts, PromptMap, fit_map, measure_map, place_on_map, select_prompts

TOPICS, EACH = 6, 30


def written(topic: int, draw: random.Random) -> str:
    return " ".join(f"word{topic * 20 + draw.randrange(20)}" for _ in range(draw.randint(8, 20)))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    draw = random.Random(3)
    return [written(number % TOPICS, draw) for number in range(TOPICS * EACH)]


@pytest.fixture(scope="module")
def fitted(texts: list[str]) -> PromptMap:
    return fit_map(texts)


def test_similar_texts_are_near_each_other_also_those_placed_later(fitted: PromptMap) -> None:
    draw = random.Random(4)
    later = [written(number % TOPICS, draw) for number in range(TOPICS * EACH)]
    places = place_on_map(later, fitted)
    kept = measure_map(later, places, fitted)
    assert kept is not None and kept.trustworthiness > 0.9
    far = ((places[:, None] - places[None]) ** 2).sum(2)
    np.fill_diagonal(far, np.inf)
    same = far.argmin(1) % TOPICS == np.arange(len(later)) % TOPICS
    assert same.mean() > 0.9


def test_random_positions_have_the_fidelity_of_chance(texts: list[str], fitted: PromptMap) -> None:
    kept = measure_map(texts, np.random.default_rng(1).random((len(texts), 2)), fitted)
    assert kept is not None
    assert abs(kept.trustworthiness - 0.5) < 0.05 and kept.share < 0.12


def test_the_same_landmarks_give_the_same_map_and_positions_do_not_move(texts: list[str], fitted: PromptMap) -> None:
    places = place_on_map(texts, fitted)
    assert np.array_equal(places, place_on_map(texts, fit_map(texts)))
    assert np.allclose(
        place_on_map([*texts, "new words altogether", *texts[:3]], fitted)[: len(texts)], places, atol=1e-6
    )
    assert np.allclose(place_on_map(texts[7:8], fitted), places[7:8], atol=1e-6)


@pytest.mark.parametrize(
    "few", [["one text"], ["same", "same"], ["", ""], ["a b c d"] * 40, [f"alone{number}" for number in range(40)]]
)
def test_short_texts_have_positions_too(few: list[str]) -> None:
    fitted = fit_map(few)
    for asked in (few, ["", "unknown", "a\u0000b \ud800"]):
        places = place_on_map(asked, fitted)
        assert places.shape == (len(asked), 2) and np.isfinite(places).all()
        assert (places >= -1e-6).all() and (places <= 1 + 1e-6).all()


def test_the_fidelity_is_as_defined(texts: list[str], fitted: PromptMap) -> None:
    """Computes it by definition, prompt by prompt, with the cosines of the vocabulary's word counts."""
    from eva.prompt_map.tfidf import tfidf_vectors

    texts = texts[:60]
    places = place_on_map(texts, fitted)
    kept = measure_map(texts, places, fitted)
    assert kept is not None and kept.prompts == 60
    vectors = tfidf_vectors(texts, fitted.known).dense(len(fitted.known.hashes_V)).astype(float)
    k, count, missed, shared = kept.neighbours, len(texts), 0, 0
    for one in range(count):
        others = [other for other in range(count) if other != one]
        alike = sorted(others, key=lambda other: (round(float(((vectors[one] - vectors[other]) ** 2).sum()), 5), other))
        near = sorted(others, key=lambda other: float(((places[one] - places[other]) ** 2).sum()))[:k]
        missed += sum(max(0, alike.index(other) + 1 - k) for other in near)
        shared += len({*near} & {*alike[:k]})
    assert kept.share == pytest.approx(shared / (count * k), abs=0.01)
    assert kept.trustworthiness == pytest.approx(1 - 2 * missed / (count * k * (2 * count - 3 * k - 1)), abs=0.005)


def test_every_iteration_has_the_same_share_and_passes_on_the_rest() -> None:
    births = [IterationPrompts(-1, 0, 1000), IterationPrompts(1, 1000, 10), IterationPrompts(2, 1010, 500)]
    numbers = select_prompts(births, 400)
    assert len(numbers) == 400 == len({*numbers})
    counts = [int(((numbers >= one.first) & (numbers < one.first + one.count)).sum()) for one in births]
    assert counts == [195, 10, 195]
    assert [*select_prompts(births, 5000)] == [*range(1510)]
    assert {*select_prompts(births, 100)} <= {*numbers}
    assert len(select_prompts([], 10)) == 0
