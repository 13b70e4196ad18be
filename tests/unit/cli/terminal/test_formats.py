from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.terminal.formats import DOING, DONE, age, amount, doing, duration, number


def test_every_stage_of_the_loop_has_words() -> None:
    files = [Path("orchestrator/loop.py"), Path("orchestrator/journal.py"), *Path("orchestrator/stages").glob("*.py")]
    code = "".join(file.read_text() for file in files)
    stages = set(
        re.findall(r'"(judge_\w+|evaluate_initial|evaluate|estimate|sample|evolve|gate|mix|audit|pair|train)"', code)
    )
    assert stages >= {"judge_pool", "judge_batch", "evaluate", "train", "gate", "audit"}
    assert stages <= DOING.keys()
    assert DOING.keys() == DONE.keys()


def test_an_unknown_stage_is_shown_by_its_name() -> None:
    assert doing("load_engines") == "load engines"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (60, "1:00"),
        (103.4, "1:43"),
        (7510, "2:05:10"),
        (None, "·"),
    ],
)
def test_durations_are_short(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (9999, "9,999"),
        (10_000, "10 k"),
        (207_400, "207 k"),
        (2_340_000, "2.3 M"),
        (5 * 10**9, "5.0 G"),
        (None, "·"),
    ],
)
def test_amounts_are_short(value: int | None, shown: str) -> None:
    assert amount(value) == shown


def test_numbers_have_fixed_digits_and_ages_one_unit() -> None:
    assert [number(0.5), number(1234), number(None), number(0.1234, 3)] == ["0.50", "1,234", "·", "0.123"]
    assert [age(12), age(300), age(10_800), age(1_036_800)] == ["12 s", "5 min", "3 h", "12 d"]
