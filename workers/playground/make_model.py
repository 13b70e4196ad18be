"""Trains the playground's solver from scratch on the lazy writer's responses.

    python -m workers.playground.make_model --seed 0 --out DIR [--steps N]

About ten minutes on two cores. The same seed on the same machine gives the same weights.
"""

import argparse
import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from workers.playground.architecture import PAD, build_model, build_tokenizer, render_chat, vocabulary
from workers.playground.lazy_writer import draw_lesson
from workers.playground.measure import load, report_accuracy

STEPS = 2_500
BATCH = 96
SLICE = 24
LEARNING_RATE = 2e-3
WARM_UP_STEPS = 100
THREADS = 2
REPORT_EVERY = 50
IGNORED = -100


Draw = Callable[[random.Random], tuple[str, str]]
"""Draws a lesson: what is asked, and the response to learn."""


def lesson_tokens(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, draw: Draw = draw_lesson
) -> tuple[list[int], int]:
    """Returns (tokens of one templated lesson, number of the prompt's tokens)."""
    prompt, response = draw(rng)
    asked = tokenizer.encode(render_chat(tokenizer, prompt))
    return tokenizer.encode(render_chat(tokenizer, prompt, response)), len(asked)


def draw_batch(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, draw: Draw = draw_lesson
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Draws one batch as slices (tokens_B_T, labels_B_T) of similar length, which halves the padding.

    Padded on the right; only the response's tokens have labels.
    """
    lessons = sorted((lesson_tokens(tokenizer, rng, draw) for _ in range(BATCH)), key=lambda lesson: len(lesson[0]))
    return [_pad(lessons[start : start + SLICE]) for start in range(0, BATCH, SLICE)]


def _pad(lessons: list[tuple[list[int], int]]) -> tuple[torch.Tensor, torch.Tensor]:
    shape = len(lessons), max(len(tokens) for tokens, _ in lessons)
    tokens_B_T = torch.full(shape, vocabulary()[PAD])
    labels_B_T = torch.full(shape, IGNORED)
    for row, (tokens, asked) in enumerate(lessons):
        tokens_B_T[row, : len(tokens)] = torch.tensor(tokens)
        labels_B_T[row, asked : len(tokens)] = torch.tensor(tokens[asked:])
    return tokens_B_T, labels_B_T


def rate(step: int, steps: int) -> float:
    """The learning rate's factor: a linear warm-up, then a cosine down to zero."""
    warm_up = min(WARM_UP_STEPS, steps // 10 + 1)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def learn(model: LlamaForCausalLM, batch: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Leaves the gradient of the mean loss per labelled token; returns that loss.

    Padding lies behind the text, so that causal attention needs no mask.
    """
    labelled = sum(int((labels_B_T != IGNORED).sum()) for _, labels_B_T in batch)
    total = 0.0
    for tokens_B_T, labels_B_T in batch:
        logits_B_T_V = model(input_ids=tokens_B_T, use_cache=False).logits
        loss = cross_entropy(
            logits_B_T_V[:, :-1].flatten(0, 1),
            labels_B_T[:, 1:].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )
        (loss / labelled).backward()
        total += loss.item()
    return total / labelled


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    steps: int,
    seed: int,
    draw: Draw = draw_lesson,
) -> None:
    """Teaches the model in place."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, steps))
    rng = random.Random(f"lessons {seed}")
    started = time.monotonic()
    model.train()
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        loss = learn(model, draw_batch(tokenizer, rng, draw))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % REPORT_EVERY == 0 or step == steps:
            left = (time.monotonic() - started) / step * (steps - step)
            click.echo(f"step {step}/{steps}   loss {loss:.4f}   about {left:.0f} s left")


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Writes the standard Hugging Face layout in half precision, the chat template inside its config."""
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out, save_jinja_files=False)


def read_arguments(description: str, steps: int) -> argparse.Namespace:
    """Reads where to write a model (`out`), its `seed` and `steps`, and makes what torch does follow from the seed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=steps)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    return arguments


def main() -> None:
    arguments = read_arguments("Trains the playground's solver on the lazy writer's responses.", STEPS)
    model, tokenizer = build_model(), build_tokenizer()
    train(model, tokenizer, arguments.steps, arguments.seed)
    save(model, tokenizer, arguments.out)
    report_accuracy(*load(str(arguments.out)))


if __name__ == "__main__":
    main()
