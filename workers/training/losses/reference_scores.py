"""Log-probabilities of all rows under a reference, computed once before the training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from accelerate.utils import gather_object

from workers.training.policies import place_reference

if TYPE_CHECKING:
    from workers.training.losses import Reference
    from workers.training.rows import Row

Figures = TypeVar("Figures")


def score_rows(
    reference: Reference,
    rows: Sequence[Row],
    responses_of: Callable[[Row], list[list[int]]],
    score: Callable[[Any, Any], list[Figures]],
    *,
    trainer: Any,
    batch_size: int,
) -> list[Figures]:
    """Returns the figures of each row under a reference, such as its responses' log-probabilities, and frees it.

    `responses_of` returns the token ids of a row's responses, `score` the figures of a batch's rows, given the model
    and the batch. Several devices share the rows and exchange their results. Each takes equally many batches, because
    devices that share the weights must call the model equally often.
    """
    accelerator = trainer.accelerator
    responses = [responses_of(row) for row in rows]
    batches = reference_batches(
        [len(row["prompt_ids"]) + max(map(len, own)) for row, own in zip(rows, responses, strict=True)],
        pairs=batch_size,
        tokens=reference.tokens,
        responses=max(map(len, responses)),
    )
    while len(batches) % accelerator.num_processes:
        batches.append(batches[0])
    share = batches[accelerator.process_index :: accelerator.num_processes]
    model = place_reference(reference.load(), accelerator)
    results: list[tuple[int, Figures]] = []
    for number, indices in enumerate(share):
        reference.note(f"scores the reference: batch {number + 1} of {len(share)}")
        batch = trainer._prepare_inputs(trainer.data_collator([rows[index] for index in indices]))
        results += zip(indices, score(model, batch), strict=True)
    if accelerator.num_processes > 1:
        results = gather_object(results)
    scored = dict(results)
    return [scored[index] for index in range(len(rows))]


def reference_batches(lengths: Sequence[int], *, pairs: int, tokens: int | None, responses: int = 2) -> list[list[int]]:
    """Returns indices of rows in batches of similar length, which saves padding.

    `tokens` bounds a batch's tokens, padding counted, where a row has up to so many `responses`; the longest rows come
    first, so that too little memory shows at once. Without it, a batch has `pairs` rows.
    """
    if tokens is None:
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        return [order[start : start + pairs] for start in range(0, len(order), pairs)]
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batches and responses * lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
