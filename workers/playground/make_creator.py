"""Trains the playground's creator: the solver learns to write children as the rules' evolver does.

    python -m workers.playground.make_creator --seed 0 --out DIR [--steps N]

It has the solver's shape, so that one fleet serves both. The same seed on the same machine gives the same weights.
"""

import random
from collections import Counter

import click
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from workers.playground import MODEL_DIR
from workers.playground.make_model import read_arguments, save, train
from workers.playground.measure import load, respond
from workers.playground.written_prompts import draw_writing_lesson, read_prompt

STEPS = 600
LESSONS = 200


def report_children(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
    """Prints which share of its replies at temperature 1 are children, and what the others are."""
    rng = random.Random(f"parents {seed}")
    asked = [draw_writing_lesson(rng)[0] for _ in range(LESSONS)]
    replies = respond(model, tokenizer, asked, temperature=1.0)
    outcomes = Counter(
        reason or ("equal" if asked_text.endswith(prompt) else "child")
        for asked_text, (reply,) in zip(asked, replies, strict=True)
        for prompt, reason in [read_prompt(reply)]
    )
    click.echo(", ".join(f"{count / LESSONS:.2f} {outcome}" for outcome, count in outcomes.most_common()))


def main() -> None:
    arguments = read_arguments("Trains the playground's creator on children that rules have made.", STEPS)
    model, tokenizer = load(str(MODEL_DIR))
    train(model, tokenizer, arguments.steps, arguments.seed, draw_writing_lesson)
    save(model, tokenizer, arguments.out)
    report_children(load(str(arguments.out))[0], tokenizer, arguments.seed)


if __name__ == "__main__":
    main()
