"""How often the majority of a prompt's responses is right, by iteration and difficulty: is agreement a reward to trust?

    EVA_DATA_DIR=FOLDER python -m benchmarks.vote RUN [--low 0.3] [--high 0.8]

Reads a run of the playground, whose answers are known, with any reward: the responses of each iteration's policy to its
batch. A vote counts if one answer is the commonest and its share lies within the bounds.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass

from cli.store_access import existing_store, find
from eva.measures.statistics import wilson
from eva.types import PromptResponses
from store.game import batches, responses
from workers.playground.reward import stated_result
from workers.playground.world import parse, results


@dataclass(frozen=True, slots=True)
class Votes:
    """The votes on prompts of one difficulty in an iteration: `right` of the `counted` ones agree with the truth."""

    iteration: int
    operations: int
    prompts: int
    counted: int
    right: int

    def __str__(self) -> str:
        shown = f"{self.iteration:9} {self.operations:10} {self.prompts:7} {self.counted / self.prompts:8.0%}"
        if not self.counted:
            return shown
        low, high = wilson(self.right, self.counted)
        return f"{shown} {self.right / self.counted:7.0%} ({low:.0%} to {high:.0%})"


def vote(prompt: PromptResponses, low: float, high: float) -> bool | None:
    """Whether the majority is right; None if its vote does not count."""
    answers = [stated_result(response.text) for response in prompt.responses]
    counts = Counter(answer for answer in answers if answer is not None).most_common(2)
    if not counts or (len(counts) > 1 and counts[0][1] == counts[1][1]):
        return None
    if not low <= counts[0][1] / len(answers) <= high:
        return None
    return counts[0][0] == " ".join(results(parse(prompt.text))[-1])


def votes(name: str, low: float, high: float) -> list[Votes]:
    """Returns the votes of every iteration that has a batch, by difficulty."""
    found: list[Votes] = []
    with existing_store() as store, store.transaction() as conn:
        run = find(store, name)
        for iteration in range(run.iteration):
            numbers = batches.read_batch_numbers(conn, run.id, iteration)
            by_difficulty: dict[int, list[bool | None]] = {}
            for prompt in responses.read_responses(conn, run.id, iteration, numbers):
                by_difficulty.setdefault(parse(prompt.text).difficulty, []).append(vote(prompt, low, high))
            for difficulty, each in sorted(by_difficulty.items()):
                counted = [one for one in each if one is not None]
                found.append(Votes(iteration, difficulty, len(each), len(counted), sum(counted)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="How often the majority's answer is right in a run of the playground.")
    parser.add_argument("run")
    parser.add_argument("--low", type=float, default=0.0)
    parser.add_argument("--high", type=float, default=1.0)
    asked = parser.parse_args()
    print("iteration operations prompts  counted   right (95 %)")
    for row in votes(asked.run, asked.low, asked.high):
        print(row)


if __name__ == "__main__":
    main()
