"""What a solver can do: accuracy on the held-out sets, and regret by number of operations.

python -m workers.playground.measure --model DIR
"""

import argparse
import random
from collections.abc import Sequence
from typing import Any

import click
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from workers.playground import MODEL_DIR
from workers.playground.architecture import MAX_NEW_TOKENS, render_chat
from workers.playground.random_tasks import draw_task
from workers.playground.reward import exact, grade
from workers.playground.tasks import LETTERS_IN_A_PROMPT, heldout
from workers.playground.world import MAX_OPERATIONS, render

CHUNK = 200


def load(path: str) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Loads the solver in single precision, and its tokenizer."""
    model = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(path)


def respond(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    n: int = 1,
    temperature: float = 0.0,
) -> list[list[str]]:
    """Generates n responses to each prompt: greedy at temperature 0, otherwise from torch's random state."""
    choice: dict[str, Any] = {"do_sample": False}
    if temperature:
        choice = {"do_sample": True, "temperature": temperature, "top_k": 0}
    responses: list[str] = []
    for start in range(0, len(prompts), CHUNK):
        texts = [render_chat(tokenizer, prompt) for prompt in prompts[start : start + CHUNK]]
        inputs = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
        with torch.inference_mode():
            tokens = model.generate(  # pyright: ignore[reportAttributeAccessIssue] - no model meets generate's protocol
                **inputs, max_new_tokens=MAX_NEW_TOKENS, num_return_sequences=n, **choice
            )
        responses += tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [responses[i : i + n] for i in range(0, len(responses), n)]


def accuracy(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    n: int = 1,
    temperature: float = 0.0,
) -> float:
    """Returns the share of exactly correct responses."""
    answers = respond(model, tokenizer, prompts, n, temperature)
    correct = [exact(prompt, text) for prompt, texts in zip(prompts, answers, strict=True) for text in texts]
    return sum(correct) / len(correct)


def regret_by_operations(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: int = 100, n: int = 6, seed: int = 0
) -> dict[int, float]:
    """Mean a_min (best minus worst reward of n responses at T=1) for chains of 1 to 6 operations."""
    regret: dict[int, float] = {}
    for operations in range(1, MAX_OPERATIONS + 1):
        rng = random.Random(f"regret {operations} {seed}")
        drawn = [render(draw_task(operations, rng.choice(LETTERS_IN_A_PROMPT), rng)) for _ in range(prompts)]
        gaps: list[float] = []
        for prompt, texts in zip(drawn, respond(model, tokenizer, drawn, n, temperature=1.0), strict=True):
            rewards = [grade(prompt, text) for text in texts]
            gaps.append(max(rewards) - min(rewards))
        regret[operations] = sum(gaps) / prompts
    return regret


def report_accuracy(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Prints greedy and sampled accuracy on the three held-out sets."""
    for name, prompts in heldout().items():
        greedy = accuracy(model, tokenizer, prompts)
        sampled = accuracy(model, tokenizer, prompts, n=6, temperature=1.0)
        click.echo(f"{name:8} greedy {greedy:.3f}   T=1 {sampled:.3f}   ({len(prompts)} prompts)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(MODEL_DIR), help="folder (default: the committed solver)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    model, tokenizer = load(arguments.model)
    report_accuracy(model, tokenizer)
    for operations, regret in regret_by_operations(model, tokenizer, seed=arguments.seed).items():
        click.echo(f"{operations} operations: mean a_min {regret:.2f}")


if __name__ == "__main__":
    main()
