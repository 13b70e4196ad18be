"""Rewards of the micro-world. Each takes the prompt's and the response's text and is a pure function.

Use one in a run as a verifier: `workers.playground.reward:grade`.
"""

import hashlib
import random

from workers.playground.world import Letters, parse, read_letters, results

# The longest correct response has about 400 characters; longer texts are not read.
MAX_RESPONSE_CHARACTERS = 2_000
NOISE_SIGMA = 0.1
LENGTH_SHARE = 0.2
LENGTH_SATURATION = 60


def grade(prompt: str, response: str) -> float:
    """Half the edit similarity of the last result to the solution, half an exact match: in [0, 1].

    0 without an answer. Raises PromptError when the prompt is not one of this world.
    """
    truth = results(parse(prompt))[-1]
    given = last_result(response)
    if given is None:
        return 0.0
    return 0.5 * similarity(given, truth) + 0.5 * (given == truth)


def exact(prompt: str, response: str) -> float:
    """1.0 if the last result is correct, else 0.0."""
    return float(last_result(response) == results(parse(prompt))[-1])


def is_correct(prompt: str, response: str) -> bool:
    return exact(prompt, response) == 1.0


def noisy(prompt: str, response: str) -> float:
    """`grade` plus Gaussian noise of sigma 0.1, equal for equal texts; may leave [0, 1]."""
    texts = f"{len(prompt)}:{prompt}{response}".encode("utf-8", "surrogatepass")
    noise = random.Random(hashlib.sha256(texts).digest()).gauss(0.0, NOISE_SIGMA)
    return grade(prompt, response) + noise


def length_biased(prompt: str, response: str) -> float:
    """Four fifths `grade`, one fifth length, which is full at 60 words: in [0, 1]."""
    words = len(response[:MAX_RESPONSE_CHARACTERS].split())
    length = min(1.0, words / LENGTH_SATURATION)
    return (1 - LENGTH_SHARE) * grade(prompt, response) + LENGTH_SHARE * length


def last_result(response: str) -> Letters | None:
    """Returns the letters after the last colon of the last step; None without a result."""
    if len(response) > MAX_RESPONSE_CHARACTERS:
        return None
    _, colon, result = response.rpartition(";")[2].rpartition(":")
    return read_letters(result) if colon and result.strip() else None


def stated_result(response: str) -> str | None:
    """The last result as a text, for `reward.kind: agreement`; None without one."""
    letters = last_result(response)
    return None if letters is None else " ".join(letters)


def similarity(given: Letters, truth: Letters) -> float:
    """1 - edit distance / length of the longer list: 1 for equal lists, 0 for nothing in common."""
    longest = max(len(given), len(truth))
    return 1.0 - edit_distance(given, truth) / longest if longest else 1.0


def edit_distance(given: Letters, truth: Letters) -> int:
    """Levenshtein distance in letters: the fewest insertions, deletions and substitutions."""
    row = list(range(len(truth) + 1))
    for i, letter in enumerate(given, start=1):
        diagonal, row[0] = row[0], i
        for j, wanted in enumerate(truth, start=1):
            substitution = diagonal + (letter != wanted)
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, substitution)
    return row[-1]
