"""Held-out sets for tests, as a prompt file would give them."""

from __future__ import annotations

from eva.evaluation.turns import HeldoutSet, split_turns
from eva.prompts.files import FilePrompt


def held_out(name: str, *texts: str) -> HeldoutSet:
    """A set of single-turn prompts."""
    (first,) = split_turns(name, [FilePrompt(text) for text in texts])
    return first
