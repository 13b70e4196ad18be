"""The operators' names. Each evolver says what an operator does (workers/evolvers/).

`choice`: which operator a parent gets
`gain`: how much more informative children are than their parents
"""

from __future__ import annotations

FIRST_PACK: dict[str, str] = {
    "constraints": "in_depth",
    "deepening": "in_depth",
    "concretizing": "in_depth",
    "reasoning": "in_depth",
    "breadth": "in_breadth",
}
"""EvolInstruct's five operators, as in the paper, with their families."""

SECOND_PACK: dict[str, str] = {
    "expansion": "in_depth",
    "persona": "in_depth",
    "shift_in": "in_breadth",
    "shift_out": "in_breadth",
    "mix": "in_breadth",
    "abstract": "in_breadth",
}
"""eva's own operators with their families, for evolvers that use a language model."""

FAMILIES: dict[str, str] = FIRST_PACK | SECOND_PACK

NEEDS_PARTNER = frozenset({"mix"})
"""Operators that take a second prompt from the sampled subset."""

LEAVES_TOPIC = frozenset({"breadth", "shift_in", "shift_out"})
"""Operators whose child is about something else: it has no known topic, where other children have their parent's."""
