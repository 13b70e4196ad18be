"""A baseline's answers to held-out prompts, from a file: which answer belongs to which prompt, which are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from eva.creator.novelty import prompt_key
from eva.errors import PromptFileError
from eva.prompts.files import FilePrompt, read_prompts
from eva.prompts.rows import read_rows

ANSWER_FIELDS = ("output", "response", "answer")
SHOWN = 3
"""Prompts without an answer that an error quotes."""


@dataclass(frozen=True, slots=True)
class BaselineResponses:
    """One answer per prompt, in the prompts' order; how many rows of the file were left, and as what."""

    texts: tuple[str, ...]
    unused: int
    repeated: int


def read_baseline(path: Path, prompts: Sequence[FilePrompt], name: str) -> BaselineResponses:
    """The answers of a file to these prompts of the set `name`; of several to one prompt the first.

    Prompts are told by their texts and the messages before them, whatever their case and white space. Raises
    PromptFileError: no such file, a row without prompt or answer, prompts without an answer (how many and which).
    """
    found: dict[int, str] = {}
    rows = 0
    for place, row in read_rows(path):
        rows += 1
        (prompt,) = read_prompts([(place, row)], str(path)).prompts
        found.setdefault(prompt_key(prompt.text, prompt.context), _answer(row, f"{place} of {path}"))
    keys = [prompt_key(prompt.text, prompt.context) for prompt in prompts]
    lacking = [(item, prompts[item].text) for item, key in enumerate(keys) if key not in found]
    if lacking:
        shown = "; ".join(f"prompt {item}, {text[:60]!r}" for item, text in lacking[:SHOWN])
        more = f"; and {len(lacking) - SHOWN:,} more" if len(lacking) > SHOWN else ""
        raise PromptFileError(
            f"{path} has no answer to {len(lacking):,} of the {len(prompts):,} held-out prompts of {name}: "
            f"{shown}{more}",
            expected="an answer to each, under the same text",
            next_move=f"Take the baseline's answers to the file under evaluation.sets.{name}, or leave the others out "
            "of that file",
        )
    return BaselineResponses(tuple(found[key] for key in keys), len(found.keys() - set(keys)), rows - len(found))


def _answer(row: Any, where: str) -> str:
    columns = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
    name = next((name for name in ANSWER_FIELDS if columns.get(name) is not None), None)
    if name is None or not isinstance(columns[name], str):
        raise PromptFileError(
            f"{where} gives no answer: it has the keys {', '.join(map(repr, columns)) or '(none)'}",
            expected=f"a text under one of {', '.join(ANSWER_FIELDS)}",
            next_move="Rename the key that holds the baseline's answer",
        )
    return columns[name]
