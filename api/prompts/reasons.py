"""Why a prompt was trained on, in sentences. Each says only what the store holds."""

from __future__ import annotations

from collections.abc import Iterator

from eva.config import Gate
from eva.solver.advantages import REASONS
from eva.types import Prompt
from store.rows import WhyRow


def reasons(prompt: Prompt, rows: list[WhyRow], gate: Gate | None = None) -> Iterator[str]:
    """One sentence per step, from how the prompt was made to the pair or the responses that were trained on.

    `rows` come from `why_trained`, by iteration; `gate` is the run's.
    """
    yield _born(prompt, rows[0] if rows and rows[0].iteration == prompt.born else None)
    if not rows:
        yield "It has been in no batch, so it was not trained on."
    latest = -1
    for row in rows:
        if row.iteration != latest:
            yield _joined(row)
            latest = row.iteration
            if gate is not None and row.iteration == prompt.born and row.batch_info is not None:
                yield _probed(row, gate)
        yield _trained(row) if row.sample is None else _weighed(row)


def _born(prompt: Prompt, row: WhyRow | None) -> str:
    if prompt.parent is None:
        return "It is a seed prompt."
    made = f"Iteration {prompt.born} made it from prompt {prompt.parent} by {prompt.operator}"
    if row is None or row.parent_info is None:
        return f"{made}."
    drawn = "" if row.parent_weight is None else f" and weight {row.parent_weight:.4g}"
    return f"{made}, which had info {row.parent_info:.4g}{drawn} in that pool."


def _joined(row: WhyRow) -> str:
    came = "was kept from the pool" if row.buffer else "was among the new prompts"
    if row.iteration == 0 and row.operator is None and not row.buffer:
        came = "was among the seed prompts"
    return f"Iteration {row.iteration}: it {came} in the batch, and checkpoint {row.checkpoint} answered it."


def _probed(row: WhyRow, gate: Gate) -> str:
    high = "any higher one" if gate.high is None else f"{gate.high:g}"
    return (
        f"Iteration {row.iteration}: the gate admitted it, because its first {gate.responses} responses showed a "
        f"regret from {gate.low:g} to {high}. Its info contains these responses, so it may be a little high."
    )


def _trained(row: WhyRow) -> str:
    info = f"its info was {row.batch_info:.4g}" if row.batch_info is not None else f"no info ({row.batch_reason})"
    if row.chosen is None or row.chosen_reward is None or row.rejected_reward is None or row.margin is None:
        return f"Iteration {row.iteration}: {info}, and no pair was made from it: it was not trained on."
    return (
        f"Iteration {row.iteration}: {info}; trained on response {row.chosen} (reward {row.chosen_reward:.4g}) "
        f"over response {row.rejected} (reward {row.rejected_reward:.4g}), margin {row.margin:.4g}."
    )


def _weighed(row: WhyRow) -> str:
    rewarded = "" if row.reward is None else f" (reward {row.reward:.4g})"
    if row.advantage is None:
        why = REASONS.get(row.unweighed or "", row.unweighed)
        return f"Iteration {row.iteration}: response {row.sample}{rewarded} was not trained on: {why}."
    return f"Iteration {row.iteration}: trained on response {row.sample}{rewarded} with advantage {row.advantage:.4g}."
