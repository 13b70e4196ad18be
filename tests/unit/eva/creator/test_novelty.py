"""MinHash agrees with the exact Jaccard index, the index with a plain loop; protected texts are found."""

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva.creator.novelty import ContaminationCheck, NearDuplicateCheck, NoveltyChecks, ProtectedTexts, jaccard
from eva.measures.minhash import SHINGLE, MinHashIndex, near_twins, rows_per_band, signatures
from eva.measures.ngrams import grams, tokens, words

VOCABULARY = [f"w{number}" for number in range(500)]


def drawn(rng: random.Random, length: int = 60) -> str:
    return " ".join(rng.choices(VOCABULARY, k=length))


def edited(text: str, edits: int, rng: random.Random) -> str:
    changed = text.split()
    for _ in range(edits):
        changed[rng.randrange(len(changed))] = rng.choice(VOCABULARY)
    return " ".join(changed)


def exact(one: str, other: str) -> float:
    """Returns the exact Jaccard index of two texts' token 3-shingles; both have at least three tokens."""
    left, right = (
        {tuple(found[at : at + SHINGLE]) for at in range(len(found) - SHINGLE + 1)}
        for found in (tokens(one), tokens(other))
    )
    return len(left & right) / len(left | right)


def test_equal_entries_of_signatures_estimate_the_jaccard_index_without_bias() -> None:
    rng = random.Random(3)
    pairs = [(text := drawn(rng), edited(text, rng.randrange(1, 15), rng)) for _ in range(300)]
    found = signatures([text for pair in pairs for text in pair])
    errors = (found[::2] == found[1::2]).mean(axis=1) - [exact(*pair) for pair in pairs]
    assert abs(errors.mean()) < 0.01 and 0.02 < errors.std() < 0.05, "the standard deviation is at most 0.044"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(st.sampled_from("ab c,日é"), max_size=30), min_size=1, max_size=9), st.randoms())
def test_a_signature_does_not_depend_on_the_batch_it_is_made_in(texts: list[str], rng: random.Random) -> None:
    order = rng.sample(range(len(texts)), len(texts))
    together = signatures([texts[place] for place in order])
    alone = [signatures([texts[place]])[0] for place in order]
    assert np.array_equal(together, np.stack(alone))


def test_near_duplicates_are_found_and_others_are_not() -> None:
    rng = random.Random(5)
    known = [drawn(rng, 200) for _ in range(400)]
    index = MinHashIndex(0.9)
    index.extend(known)
    near = [index.nearest(edited(text, 1, rng)) for text in known]
    assert sum(found == place for place, found in enumerate(near)) >= 0.99 * len(known), "similarity about 0.97"
    assert [index.nearest(edited(text, 30, rng)) for text in known] == [None] * len(known), "similarity about 0.5"


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9, 0.99])
def test_the_bands_make_a_candidate_of_a_text_at_the_threshold(similarity: float) -> None:
    rows = rows_per_band(similarity)
    missed = (1 - similarity**rows) ** (128 // rows)
    assert missed <= 0.01 and 128 % rows == 0


def test_an_index_grown_in_batches_gives_the_same_results_as_one_grown_at_once() -> None:
    rng = random.Random(8)
    texts = [drawn(rng, 20) for _ in range(300)]
    texts += [edited(text, 1, rng) for text in texts[:100]]
    whole, grown = MinHashIndex(0.7), MinHashIndex(0.7)
    whole.extend(texts)
    for start in range(0, 400, 37):
        grown.extend(texts[start : start + 37])
    asked = [edited(text, 1, rng) for text in texts]
    assert [grown.nearest(text) for text in asked] == [whole.nearest(text) for text in asked]
    assert len(grown) == 400 and any(grown.nearest(text) is None for text in asked)


def test_the_nearest_of_several_is_returned_and_the_oldest_of_equals() -> None:
    rng = random.Random(9)
    text = drawn(rng, 100)
    index = MinHashIndex(0.6)
    index.extend([edited(text, 6, rng), text, drawn(rng), text])
    assert index.nearest(text) == 1


def test_an_empty_index_finds_nothing_and_texts_without_words_are_compared_too() -> None:
    index = MinHashIndex(0.9)
    assert index.nearest("anything") is None
    index.extend(["", "?!", "hi"])
    assert [index.nearest(text) for text in ("", "!?", "HI", "hi!")] == [0, None, 2, None]


def test_other_numbers_and_signs_make_a_different_prompt() -> None:
    index = MinHashIndex(0.9)
    index.extend(["What is 17 + 4?", "日本語で詩を書いてください"])
    assert index.nearest("What is 17 - 4?") is None and index.nearest("What is 18 + 4?") is None
    assert index.nearest("what  is 17+4?") == 0 and index.nearest("中国語で歌を作ってください") is None


def test_signatures_are_the_same_in_another_process() -> None:
    code = "from eva.measures.minhash import signatures; print(signatures(['a b c d'])[0].tolist())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(signatures(["a b c d"])[0].tolist())


def test_twins_among_siblings_are_those_of_a_plain_loop() -> None:
    rng = random.Random(2)
    texts = [drawn(rng, 80) for _ in range(40)]
    texts += [edited(rng.choice(texts), rng.choice((0, 1, 40)), rng) for _ in range(80)]
    plain: list[int | None] = []
    for number, text in enumerate(texts):
        plain.append(
            next(
                (
                    earlier
                    for earlier in range(number)
                    if plain[earlier] is None and exact(texts[earlier], text) >= 0.85
                ),
                None,
            )
        )
    assert near_twins(texts, 0.85) == plain and sum(twin is not None for twin in plain) > 20
    assert near_twins(texts, 1.0) == [None] * 120


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6), max_size=6), st.integers(1, 4), st.booleans())
def test_grams_are_those_of_a_plain_loop(texts: list[list[str]], n: int, pad: bool) -> None:
    found = grams(texts, n, pad=pad)
    counts = [max(len(text) - n + 1, 1 if pad else 0) for text in texts]
    plain = [
        (*text[at : at + n], *[None] * (n - len(text)))
        for text, count in zip(texts, counts, strict=True)
        for at in range(count)
    ]
    assert found.counts_T.tolist() == counts and len(found.hashes_G) == len(plain)
    assert len({*zip(plain, found.hashes_G.tolist(), strict=True)}) == len({*plain}) == len({*found.hashes_G.tolist()})


def test_words_of_scripts_without_spaces_are_their_characters() -> None:
    assert words("Don't 日本 ok, 42!") == ["don", "t", "日", "本", "ok", "42"]
    assert tokens("a+B") == ["a", "+", "b"]


PROTECTED = "A train leaves Rome at nine and meets a slower one after two hours; how fast is it?"


@pytest.mark.parametrize(
    ("text", "contaminated"),
    [
        (PROTECTED, True),
        ("Now think: a train leaves Rome, at nine, and MEETS a slower one after two years?", True),
        ("A train leaves Rome at nine and meets a slower one after three hours; how fast is it?", False),
        ("What is the capital of Peru", True),
        ("And what is the capital of Peru", False),
        ("", False),
    ],
)
def test_thirteen_words_in_a_row_of_a_protected_text_contaminate(text: str, contaminated: bool) -> None:
    check = ProtectedTexts([PROTECTED, "What is the capital of Peru?", "?!"])
    assert check.overlaps(text) is contaminated


def test_many_texts_at_once_overlap_as_each_does_alone() -> None:
    rng = random.Random(3)
    check = ProtectedTexts([PROTECTED, "What is the capital of Peru?", *(drawn(rng) for _ in range(20))], n=4)
    between = [f"{drawn(rng)} {PROTECTED if place % 7 == 0 else ''}" for place in range(5000)]
    texts = [PROTECTED, "", "what is the capital of peru", *between, "what is a capital"]
    found = check.overlapping(texts).tolist()
    assert found == [check.overlaps(text) for text in texts]
    assert found == [True, False, True, *(place % 7 == 0 for place in range(5000)), False]
    assert check.overlapping([]).tolist() == []


def test_the_number_of_words_can_be_lower_and_without_protected_texts_nothing_is_found() -> None:
    text = "the train meets a slower one after lunch"
    assert ProtectedTexts([PROTECTED], n=5).overlaps(text) and not ProtectedTexts([PROTECTED], n=6).overlaps(text)
    assert not ProtectedTexts([]) and not ProtectedTexts([]).overlaps(PROTECTED)


def test_the_first_reason_counts() -> None:
    index = MinHashIndex(0.9)
    index.extend([PROTECTED, drawn(random.Random(1))])
    novelty = NoveltyChecks((ContaminationCheck(ProtectedTexts([PROTECTED])), NearDuplicateCheck(index)))
    assert novelty.reason(PROTECTED) == "contaminated"
    assert novelty.reason(drawn(random.Random(1))) == "near_known"
    assert novelty.reason(drawn(random.Random(2))) is None and NoveltyChecks().reason(PROTECTED) is None


def test_jaccard_compares_word_triples() -> None:
    assert jaccard("a b c d", "A b  c e") == 1 / 3
