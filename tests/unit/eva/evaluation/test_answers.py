"""Equal answers are found equal however they are written, and a text without an answer has none."""

import pytest

from eva.errors import ConfigError
from eva.evaluation.answers import boxed, last_line, last_number, normaliser_named


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("First 3, then 4. So it is 1,200.50", "1200.5"),
        ("about 1200.5.", "1200.5"),
        ("x = -7", "-7"),
        ("it is 3/4 of them", "3/4"),
        ("0.0", "0"),
        ("-0", "0"),
        ("exactly .50", ".5"),
        ("none at all", None),
        ("", None),
    ],
)
def test_the_last_number_is_the_answer(response: str, answer: str | None) -> None:
    assert last_number(response) == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so \boxed{1} or rather \boxed{ \frac{1}{2} }.", r"\frac{1}{2}"),
        (r"\boxed{x", None),
        (r"\boxed{}", None),
        ("boxed{3}", None),
    ],
)
def test_the_last_box_is_the_answer(response: str, answer: str | None) -> None:
    assert boxed(response) == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [("I think\n  The  Blue one.\n\n", "the blue one"), ("yes", "yes"), (" \n ", None), ("...", None)],
)
def test_the_last_line_is_the_answer(response: str, answer: str | None) -> None:
    assert last_line(response) == answer


def test_an_unknown_normaliser_cannot_be_imported() -> None:
    with pytest.raises(ConfigError, match="normaliser 'no_such_module:f'"):
        normaliser_named("no_such_module:f")
