"""The audit's figures agree with values computed by hand, with scipy's, and with known biases."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eva.measures import audit
from eva.types import Floats, Ints

MARKDOWN = """# Title
Some **bold** and __more bold__ words, 2 ** 3 and a*b.

- one
* two
  + three
1. four
2) five
10.5 is no item, -neither this
#no header
###### Deep
"""


def test_features_count_characters_list_items_headers_and_bold_spans() -> None:
    assert dict(zip(audit.FEATURES, audit.features(MARKDOWN), strict=True)) == {
        "length": len(MARKDOWN),
        "lists": 5,
        "headers": 2,
        "bold": 2,
    }
    assert audit.features("") == (0, 0, 0, 0)
    assert audit.features("**x " * 20_000 + "__x " * 20_000)[0] == 160_000
    assert audit.features("**" * 5000 + "\n- " * 5000)[0] == 25000


def synthetic(length: float, bold: float, prompts: int = 400, responses: int = 6) -> tuple[Floats, Floats, Ints]:
    """Returns rewards with known weights for length and bold spans; formatted responses are longer."""
    rng = np.random.default_rng(5)
    count = prompts * responses
    bolds, groups = rng.poisson(3, count), np.repeat(np.arange(prompts), responses)
    lengths = 200 + 60 * bolds + rng.normal(0, 100, count)
    noise = rng.normal(0, 1, count) + 3 * rng.normal(0, 1, prompts)[groups]
    rewards = length * (lengths - lengths.mean()) / lengths.std() + bold * (bolds - 3) / 1.7 + noise
    counts = np.column_stack([lengths, rng.poisson(1, count), rng.poisson(1, count), bolds])
    return rewards, counts.astype(np.float64), groups


def test_partial_correlation_separates_a_bias_for_length_from_one_for_bold() -> None:
    for length, bold in ((1.0, 0.0), (0.0, 1.0)):
        found = audit.correlations(*synthetic(length, bold))
        biased, innocent = ("length", "bold") if length else ("bold", "length")
        assert (found[biased]["partial"] or 0) > 0.4
        assert abs(found[innocent]["partial"] or 0) < 0.06
        # both look guilty before the other is controlled
        assert (found[innocent]["within"] or 0) > 0.3
        assert (found[biased]["within"] or 0) > 1.5 * (found[biased]["raw"] or 0)
        assert abs(found["lists"]["partial"] or 0) < 0.06


def test_raw_and_partial_correlations_equal_numpys_and_the_textbooks() -> None:
    rng = np.random.default_rng(1)
    one, other, control = rng.normal(size=(3, 50))
    other, one = other + control, one - 2 * control
    r = np.corrcoef([one, other, control])
    textbook = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    assert audit.correlation(one, other) == pytest.approx(r[0, 1])
    assert audit.partial_correlation(one, other, control[:, None]) == pytest.approx(textbook)


def test_constant_or_missing_data_give_no_figure() -> None:
    features = np.array([[float(place), 0, 0, 0] for place in range(6)])
    prompts = np.array([0, 0, 0, 1, 1, 1])
    found = audit.correlations(np.array([1.0, 2, 3, np.nan, 1, 0]), features, prompts)
    assert found["length"]["within"] is not None and found["lists"] == {"raw": None, "within": None, "partial": None}
    assert audit.correlations(np.full(6, 0.1), features, prompts)["length"] == {
        "raw": None,
        "within": None,
        "partial": None,
    }
    nothing = audit.correlations(np.full(6, np.nan), features, prompts)
    assert nothing["length"] == {"raw": None, "within": None, "partial": None}
    # length explains the reward wholly: nothing is left to correlate
    line: Floats = np.linspace(0, 1, 9)
    assert audit.partial_correlation(line, np.sin(line), line[:, None]) is None


@settings(max_examples=60)
@given(arrays(np.float64, (2, 7), elements=st.sampled_from([0.0, 1.0, 1.5, 3.0, 7.0])))
def test_agreement_equals_scipys_kendall_and_spearman(both: Floats) -> None:
    one, other = both[None, 0], both[None, 1]
    constant = len(set(both[0])) == 1 or len(set(both[1])) == 1
    if constant:
        assert np.isnan(audit.kendall(one, other)[0]) and np.isnan(audit.spearman(one, other)[0])
    else:
        assert audit.kendall(one, other)[0] == pytest.approx(scipy.stats.kendalltau(both[0], both[1])[0])
        assert audit.spearman(one, other)[0] == pytest.approx(scipy.stats.spearmanr(both[0], both[1])[0])


def test_agreement_leaves_out_responses_that_one_rewarder_did_not_reward() -> None:
    first = np.array([[1.0, 2, 3, np.nan], [1, 2, 3, 4], [1, np.nan, np.nan, 2], [5, 5, 5, 5]])
    second = np.array([[1.0, 2, np.nan, 9], [4, 3, 2, 1], [np.nan, 1, 2, 3], [1, 2, 3, 4]])
    # prompt 0: the two responses that both rewarded, alike; prompt 1: reversed; 2: one response; 3: no order
    assert audit.agreement(first, second) == {"prompts": 3, "kendall": 0.0, "spearman": 0.0, "pairs": 0.5}
    assert audit.agreement(first[:1], second[:1])["pairs"] == 1.0
    assert audit.agreement(first[:0], second[:0]) == {"prompts": 0, "kendall": None, "spearman": None, "pairs": None}


def test_position_bias_by_hand() -> None:
    # shown first it wins three of four; swapped it wins one: two verdicts change with the order
    first, second = np.array([1.0, 1, 1, 0, np.nan]), np.array([1.0, 0, 0, 0, 1])
    assert audit.position_bias(first, second) == {"disagreement": 0.5, "shown_first": 0.75, "shown_second": 0.25}
    assert audit.position_bias(first[:0], second[:0]) == {}
    # probabilities that stay on their side agree, and a tie agrees with a tie alone
    found = audit.position_bias(np.array([0.9, 0.4, 0.5, 0.5]), np.array([0.6, 0.1, 0.5, 0.6]))
    assert found == {
        "disagreement": 0.25,
        "shown_first": pytest.approx(2.3 / 4),
        "shown_second": pytest.approx(1.8 / 4),
    }


def test_how_often_the_longer_response_wins_by_hand() -> None:
    # prompt 7: the longest is best, the shortest worst; prompt 3: the shorter wins; a response without a reward
    rewards, lengths = np.array([3.0, 0.0, 2.0, 1.0, np.nan, 2.0]), np.array([30.0, 50.0, 20.0, 10.0, 99.0, 40.0])
    found = audit.verbosity_bias(rewards, lengths, np.array([7, 3, 7, 7, 7, 3]))
    assert (found["pairs"], found["longer_wins"]) == (4, 0.75)
    # differences 10, 20, 10 won, 10 lost: (10 + 20 + 10 - 10) / sqrt(4 * 700)
    assert found["correlation"] == pytest.approx(30 / np.sqrt(4 * 700))


def test_verbosity_equals_the_correlation_over_all_ordered_pairs() -> None:
    rng = np.random.default_rng(3)
    prompts = np.repeat(np.arange(30), 5)
    lengths = rng.integers(1, 9, 150).astype(np.float64)
    rewards = np.round(rng.normal(size=150) + lengths / 5)
    ordered = [
        (float(np.sign(rewards[i] - rewards[j])), lengths[i] - lengths[j])
        for i in range(150)
        for j in range(150)
        if i != j and prompts[i] == prompts[j]
    ]
    shuffled = rng.permutation(150)
    for order in (np.arange(150), shuffled):
        found = audit.verbosity_bias(rewards[order], lengths[order], prompts[order])
        assert found["pairs"] == len(ordered) / 2 == 300
        assert found["correlation"] == pytest.approx(np.corrcoef(np.array(ordered).T)[0, 1])
        unequal = [(won + 1) / 2 for won, longer in ordered if longer > 0]
        assert found["longer_wins"] == pytest.approx(np.mean(unequal))


def test_without_two_lengths_or_two_rewards_verbosity_has_no_figure() -> None:
    prompts, nothing = np.zeros(3, np.int64), {"longer_wins": None, "correlation": None}
    lengths: Floats = np.array([0.0, 1.0, 2.0])
    assert audit.verbosity_bias(np.array([1.0, 2, 3]), np.ones(3), prompts) == {"pairs": 3, **nothing}
    assert audit.verbosity_bias(np.full(3, np.nan), lengths, prompts) == {"pairs": 0, **nothing}
    assert audit.verbosity_bias(np.ones(3), lengths, prompts) == {"pairs": 3, "longer_wins": 0.5, "correlation": None}
