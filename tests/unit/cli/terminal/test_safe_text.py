from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cli.terminal.safe_text import one_line, printable


def test_control_characters_show_as_pictures() -> None:
    assert printable("a\x1b[31mred\x00\x7f\n") == "a␛[31mred␀␡␊"


def test_characters_that_reorder_or_hide_text_are_replaced() -> None:
    assert printable("a\u202eb\u200bc\ud800\x9b31m") == "a\ufffdb\ufffdc\ufffd\ufffd31m"


def test_ordinary_text_of_any_script_stays_as_it_is() -> None:
    for text in ("héllo", "日本語", "θ → 1", "[bold]not markup[/]"):
        assert printable(text) == text


@given(st.text(st.characters()))
def test_no_text_keeps_a_character_that_steers_a_terminal(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text(st.characters()), st.integers(1, 40))
def test_one_line_is_one_line_of_at_most_the_width(text: str, width: int) -> None:
    line = one_line(text, width)
    assert len(line) <= width
    assert line.isprintable()


def test_what_is_cut_says_so() -> None:
    assert one_line("one two  three\nfour", 12) == "one two thr…"
