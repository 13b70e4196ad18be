"""Pairs of responses of which one is better beyond doubt, in the form of RewardBench: to check a rewarder with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from eva.errors import PromptFileError
from eva.prompts.messages import is_conversation, parsed_conversation, split_conversation
from eva.prompts.rows import read_rows
from eva.types import Context

OWN = Path(__file__).with_name("reward_pairs.jsonl")
"""A small set of ours: facts, sums, instructions, code, politeness, refusals."""
CATEGORIES = ("category", "subset")
EVERYTHING = "all pairs"
"""The category of pairs whose file names none."""


@dataclass(frozen=True, slots=True)
class RewardPair:
    """A prompt, the better and the worse response to it, and the kind of pair that it is."""

    prompt: str
    chosen: str
    rejected: str
    category: str = EVERYTHING
    context: Context = ()


def read_reward_pairs(path: Path) -> list[RewardPair]:
    """Reads pairs from JSON lines, JSON, CSV or Parquet: columns `prompt`, `chosen`, `rejected`, and `category` or
    `subset` if there are several kinds.

    Columns may hold conversations, as preference datasets have them. A prompt that is left out is the beginning that
    the two conversations share. Raises PromptFileError for a row without them, or whose responses are the same.
    """
    pairs = [_pair(row, f"{place} of {path}") for place, row in read_rows(path)]
    if not pairs:
        raise PromptFileError(
            f"{path} has no pairs", expected="at least one row", next_move="Give a file with prompt, chosen, rejected"
        )
    return pairs


def _pair(row: Any, where: str) -> RewardPair:
    cells = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
    lacking = [name for name in ("chosen", "rejected") if not cells.get(name)]
    if lacking:
        raise _refused(where, f"has no {' and no '.join(lacking)}, but {', '.join(map(repr, cells)) or 'no columns'}")
    chosen, better = _split(cells["chosen"], f"chosen of {where}")
    rejected, worse = _split(cells["rejected"], f"rejected of {where}")
    if cells.get("prompt"):
        asked = _parsed(cells["prompt"])
        prompt = split_conversation(asked, where)[:2] if is_conversation(asked) else (str(asked), ())
    elif chosen is None or chosen != rejected:
        raise _refused(where, "has no column `prompt`, and its responses do not follow on the same prompt")
    else:
        prompt = chosen
    if not prompt[0].strip():
        raise _refused(where, "has an empty prompt")
    if better.strip() == worse.strip():
        raise _refused(where, "has the same response twice")
    category = next((str(cells[name]) for name in CATEGORIES if cells.get(name)), EVERYTHING)
    return RewardPair(prompt[0], better, worse, category, prompt[1])


def _split(cell: object, where: str) -> tuple[tuple[str, Context] | None, str]:
    """What a response follows on, if its column says that, and the response."""
    value = _parsed(cell)
    if not is_conversation(value):
        return None, str(value)
    *before, last = cast("list[dict[str, Any]]", value)
    response = last.get("content", last.get("value"))
    if not before or not isinstance(response, str) or last.get("role", last.get("from")) in ("user", "human", "system"):
        raise _refused(where, "does not end with a response")
    prompt, context, _ = split_conversation(before, where)
    return (prompt, context), response


def _parsed(cell: object) -> object:
    """The messages of a cell that is JSON. Any other text stays as it is: a response may be a list of numbers."""
    parsed = parsed_conversation(cell)
    return cell if parsed is None else parsed


def _refused(where: str, what: str) -> PromptFileError:
    return PromptFileError(
        f"{where} {what}",
        expected="a prompt, a better response (`chosen`) and a worse one (`rejected`), as in RewardBench",
        next_move="Correct the row or leave it out",
    )
