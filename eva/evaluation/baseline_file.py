"""Reads a baseline's responses to held-out prompts from a file, and matches them to the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from eva.creator.novelty import prompt_key
from eva.errors import PromptFileError
from eva.prompts.files import FilePrompt, read_prompts
from eva.prompts.rows import read_rows

RESPONSE_FIELDS = ("output", "response", "answer")
SHOWN = 3
"""How many prompts without a response an error quotes."""


@dataclass(frozen=True, slots=True)
class BaselineResponses:
    """One response per prompt, in the prompts' order, and how many rows of the file were unused or repeated."""

    texts: tuple[str, ...]
    unused: int
    repeated: int


def read_baseline(path: Path, prompts: Sequence[FilePrompt], name: str) -> BaselineResponses:
    """Reads a file's responses to these prompts of the set `name`; of several to one prompt, the first.

    Prompts are matched by their texts and the messages before them, ignoring case and white space. Raises
    PromptFileError: no such file, a row without prompt or response, prompts without a response (how many and which).
    """
    found: dict[int, str] = {}
    rows = 0
    for place, row in read_rows(path):
        rows += 1
        (prompt,) = read_prompts([(place, row)], str(path)).prompts
        found.setdefault(prompt_key(prompt.text, prompt.context), _response(row, f"{place} of {path}"))
    keys = [prompt_key(prompt.text, prompt.context) for prompt in prompts]
    lacking = [(item, prompts[item].text) for item, key in enumerate(keys) if key not in found]
    if lacking:
        shown = "; ".join(f"prompt {item}, {text[:60]!r}" for item, text in lacking[:SHOWN])
        more = f"; and {len(lacking) - SHOWN:,} more" if len(lacking) > SHOWN else ""
        raise PromptFileError(
            f"{path} has no response to {len(lacking):,} of the {len(prompts):,} held-out prompts of {name}: "
            f"{shown}{more}",
            expected="a response to each of them, under the same text",
            next_move=f"Use the baseline's responses to the file under evaluation.sets.{name}, or remove the other "
            "prompts from that file",
        )
    return BaselineResponses(tuple(found[key] for key in keys), len(found.keys() - set(keys)), rows - len(found))


def _response(row: Any, where: str) -> str:
    columns = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
    name = next((name for name in RESPONSE_FIELDS if columns.get(name) is not None), None)
    if name is None or not isinstance(columns[name], str):
        raise PromptFileError(
            f"{where} has no response, but the keys {', '.join(map(repr, columns)) or '(none)'}",
            expected=f"a text under one of {', '.join(RESPONSE_FIELDS)}",
            next_move="Rename the key of the baseline's response",
        )
    return columns[name]
