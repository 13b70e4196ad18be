"""Every figure agrees with a computation by hand or with a property of its definition."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva.measures.diversity import (
    FIGURES,
    Breach,
    breaches,
    cosines,
    describe_prompts,
    describe_responses,
    distinct,
    effective_number,
    expected_distinct,
    length_entropy,
    vendi,
)
from eva.types import Prompt

ONE, TWO = ["the", "cat", "saw", "the", "dog"], ["the", "dog", "ran"]


def test_distinct_counts_over_all_texts_and_never_across_two() -> None:
    assert distinct([ONE, TWO], 1) == 5 / 8
    assert distinct([ONE, TWO], 2) == 5 / 6, "the dog comes twice; dog the, between the texts, not at all"
    assert distinct([ONE, TWO], 3) == 4 / 4 and distinct([ONE, TWO], 6) is None and distinct([], 1) is None


def test_expected_distinct_divides_by_the_expectation_of_as_many_draws() -> None:
    # 5 different words of 8; 8 draws from 10 words are expected to show 10 (1 - 0.9^8) of them
    assert expected_distinct([ONE, TWO], vocabulary=10) == pytest.approx(5 / (10 * (1 - 0.9**8)))
    assert expected_distinct([]) is None


def test_expected_distinct_of_random_words_does_not_fall_with_more_text() -> None:
    rng = random.Random(1)
    texts = [[f"w{rng.randrange(2000)}" for _ in range(50)] for _ in range(200)]
    few, many = (expected_distinct(texts[:count], vocabulary=2000) for count in (10, 200))
    assert few == pytest.approx(1, abs=0.05) and many == pytest.approx(1, abs=0.05)
    assert (distinct(texts, 1) or 0) < 0.5 * (distinct(texts[:10], 1) or 0)


def test_cosines_are_those_of_the_counts() -> None:
    # counts of the, cat, saw, dog, ran: (2, 1, 1, 1, 0) and (1, 0, 0, 1, 1)
    expected = (2 + 1) / math.sqrt(7 * 3)
    assert cosines([ONE, TWO], 1) == pytest.approx(np.array([[1, expected], [expected, 1]]))
    # bigrams: the-cat, cat-saw, saw-the, the-dog and the-dog, dog-ran
    assert cosines([ONE, TWO], 2)[0, 1] == pytest.approx(1 / math.sqrt(4 * 2))


def test_many_kinds_of_words_are_counted_in_blocks() -> None:
    rng = random.Random(4)
    texts = [[f"w{rng.randrange(9000)}" for _ in range(900)] for _ in range(8)]
    vocabulary = sorted({word for text in texts for word in text})
    counts = np.array([[text.count(word) for word in vocabulary] for text in texts], float)
    counts /= np.linalg.norm(counts, axis=1, keepdims=True)
    assert len(vocabulary) > 4096 and cosines(texts, 1) == pytest.approx(counts @ counts.T)


def test_the_vendi_score_of_two_texts_is_that_of_their_two_eigenvalues() -> None:
    similar = (3 / math.sqrt(21) + 1 / math.sqrt(8)) / 2
    shares = ((1 + similar) / 2, (1 - similar) / 2)
    assert vendi([ONE, TWO]) == pytest.approx(math.exp(-sum(share * math.log(share) for share in shares)))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 5))
def test_the_vendi_score_counts_different_texts(different: int, copies: int) -> None:
    texts = [[f"a{number}", f"b{number}"] for number in range(different)] * copies
    assert vendi(texts) == pytest.approx(different)


def test_texts_without_words_count_as_different_and_no_text_gives_no_score() -> None:
    assert vendi([[], [], ONE]) == pytest.approx(3) and vendi([]) is None


def test_lengths_fall_into_bins_of_doubling_width() -> None:
    assert length_entropy([4, 5, 7, 8]) == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    assert length_entropy([0, 1]) == pytest.approx(math.log(2)) and length_entropy([]) is None


def test_the_effective_number_of_groups_lies_between_one_and_their_number() -> None:
    assert (
        effective_number([5, 5, 5]) == pytest.approx(3) and effective_number([9]) == 1 and effective_number([]) is None
    )
    assert effective_number([2, 1, 1]) == pytest.approx(math.exp(0.5 * math.log(2) + 0.5 * math.log(4)))


def batch() -> list[Prompt]:
    texts = [
        "Tell me about tides and their causes at sea",
        "Tell me about tides and their causes at sea!",
        "Sort this list of nine numbers",
        "Why is the sky blue at noon",
    ]
    return [
        Prompt(number, text, root=number // 2, topic=topic)
        for number, (text, topic) in enumerate(zip(texts, ("sea", "sea", "code", None), strict=True))
    ]


def test_a_batch_is_described_by_every_figure() -> None:
    figures = describe_prompts(batch(), {0, 2, 3}, 0.8) | describe_responses(["a b", "a c"])
    assert figures.keys() >= FIGURES.keys() and figures["vendi_texts"] == 3
    assert figures["near_duplicates"] == 0.25 and figures["effective_roots"] == pytest.approx(2)
    assert figures["topics"] == {"sea": pytest.approx(2 / 3), "code": pytest.approx(1 / 3)}
    assert figures["response_distinct_1"] == 0.75 and figures["response_texts"] == 2
    assert figures["response_distinct_3"] is None


def test_an_empty_batch_has_no_figures() -> None:
    figures = describe_prompts([], (), 0.9) | describe_responses([])
    assert {name for name in FIGURES if figures[name] is not None} == set()


def test_a_breach_lies_below_what_should_be_high_and_above_what_should_be_low() -> None:
    figures = {"vendi": 12.0, "near_duplicates": 0.3, "effective_topics": None}
    bounds = {"vendi": 20.0, "near_duplicates": 0.2, "effective_topics": 5.0}
    assert breaches(figures, bounds) == [Breach("vendi", 12.0, 20.0), Breach("near_duplicates", 0.3, 0.2)]
    assert breaches(figures, {"vendi": 12.0, "near_duplicates": 0.3}) == []
    assert str(Breach("near_duplicates", 0.3, 0.2)) == "near_duplicates is 0.3, above 0.2"
