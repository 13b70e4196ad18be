from __future__ import annotations

import io
from dataclasses import dataclass

import pytest
from rich.console import Console

from cli.terminal.progress import QUIET_S, LiveProgress, PlainProgress, Watch, outcome


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def live(clock: Clock, width: int = 80) -> tuple[LiveProgress, Console]:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    return LiveProgress("demo-abcd", 4, console, clock), console


def shown(progress: LiveProgress, console: Console) -> str:
    with console.capture() as capture:
        console.print(progress.render())
    return capture.get()


def test_the_open_stage_shows_its_share_rate_and_time_left() -> None:
    clock = Clock()
    progress, console = live(clock)
    progress.on_stage_open(1, "judge_pool", 0, 200)
    clock.now = 1.0
    progress.on_progress(20, 200, {})
    clock.now = 3.0
    progress.on_progress(60, 200, {})
    text = shown(progress, console)
    assert "demo-abcd  iteration 1 (2 of 4)" in text
    assert "judging the pool" in text
    assert "60/200" in text
    assert "20/s" in text
    assert "ETA 7.0 s" in text


def test_what_an_earlier_driver_did_does_not_count_for_the_rate() -> None:
    clock = Clock()
    watch = Watch("r", 2, clock)
    watch.on_stage_open(0, "judge_batch", 0, 1000)
    watch.on_stage_open(0, "judge_batch", 0, 1000)
    watch.on_progress(900, 1000, {})
    clock.now = 10.0
    watch.on_progress(910, 1000, {})
    assert watch.open is not None
    assert watch.open.rate(10.0) == pytest.approx(1.0)
    assert watch.open.remaining_s(10.0) == pytest.approx(90.0)


def test_the_rate_is_measured_over_the_last_seconds() -> None:
    clock = Clock()
    watch = Watch("r", 2, clock)
    watch.on_stage_open(0, "judge_batch", 0, 1000)
    for second in range(1, 100):
        clock.now = float(second)
        watch.on_progress(min(second, 50) + max(0, second - 50) * 3, 1000, {})
    assert watch.open is not None
    assert watch.open.rate(clock.now) == pytest.approx(3.0)


def test_finished_stages_stay_with_their_counts_until_the_next_iteration() -> None:
    clock = Clock()
    progress, console = live(clock)
    progress.on_stage_open(0, "pair", 0, 10)
    clock.now = 2.0
    progress.on_stage_close(0, "pair", {"pairs": 93})
    assert "paired responses" in shown(progress, console)
    assert "93 pairs" in shown(progress, console)
    progress.on_stage_open(1, "judge_pool", 0, 5)
    assert "paired responses" not in shown(progress, console)
    assert "iteration 0  93 pairs" in shown(progress, console)


@pytest.mark.parametrize("stays", [True, False])
def test_what_was_listed_stays_on_the_terminal_where_nothing_follows_it(*, stays: bool) -> None:
    console = Console(width=80, file=(written := io.StringIO()), force_terminal=True)
    with LiveProgress("demo-abcd", 4, console, Clock(), stays=stays) as progress:
        progress.on_stage_open(0, "pair", 0, 10)
        progress.on_stage_close(0, "pair", {"pairs": 93})
    erased = "\x1b[2K" in written.getvalue().rpartition("93 pairs")[2]
    assert "93 pairs" in written.getvalue() and erased is not stays


def test_training_shows_loss_and_margin() -> None:
    clock = Clock()
    progress, console = live(clock, 100)
    progress.on_stage_open(0, "train", 0, 0)
    for step in (1, 2):
        clock.now += 1.0
        progress.on_progress(step, 16, {"loss": 0.6123, "rewards/margins": 0.25, "lr": 1.0})
    assert "loss 0.612 · margin 0.250" in shown(progress, console)


@pytest.mark.parametrize("width", [40, 80, 100])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    clock = Clock()
    progress, console = live(clock, width)
    progress.on_stage_open(0, "evaluate_initial", 0, 1_000_000)
    clock.now = 5.0
    progress.on_progress(999, 1_000_000, {"loss": 0.5})
    clock.now = 6.0
    progress.on_progress(123_456, 1_000_000, {"loss": 0.5})
    assert all(len(line) <= width for line in shown(progress, console).splitlines())


def test_a_start_up_phase_without_a_total_is_shown() -> None:
    progress, console = live(Clock())
    progress.on_stage_open(0, "start", 0, 0)
    assert "starting" in shown(progress, console)
    assert "0/0" not in shown(progress, console)


def test_a_pipe_gets_one_plain_line_per_finished_stage() -> None:
    clock, lines = Clock(), list[str]()
    plain = PlainProgress("r", 3, lines.append, clock)
    plain.on_stage_open(1, "evolve", 0, 64)
    clock.now = 3.0
    plain.on_progress(64, 64, {})
    plain.on_stage_close(1, "evolve", {"accepted": 250, "refused": {"known": 4, "empty": 2}})
    assert lines == ["[3.0 s] iteration 1  evolved prompts: 250 children, 6 refused, 3.0 s"]


def test_a_note_is_shown_below_the_stages_and_has_a_line_of_its_own_in_a_pipe() -> None:
    clock, lines = Clock(), list[str]()
    progress, console = live(clock)
    plain = PlainProgress("r", 3, lines.append, clock)
    clock.now = 61.0
    for watch in (progress, plain):
        watch.on_message("the database has been away for 1 s")
    assert "[1:01] the database has been away for 1 s" in shown(progress, console)
    assert lines == ["[1:01] the database has been away for 1 s"]


def test_where_the_run_stands_is_put_into_words() -> None:
    watch = Watch("r", 4, Clock())
    watch.on_stage_open(2, "judge_pool", 0, 256)
    watch.on_progress(124, 256, {})
    assert watch.where() == "iteration 2 (3 of 4), judging the pool (124 of 256 done)"
    watch.on_stage_close(2, "judge_pool", {})
    assert watch.where() == "iteration 2 (3 of 4)"


@pytest.mark.parametrize(
    ("stage", "counts", "text"),
    [
        ("judge_pool", {}, "9 prompts"),
        ("sample", {"sampled": 2, "uniform": False}, "2 of 9"),
        ("mix", {"children": 7, "buffer": 2}, "7 children, 2 from the pool"),
        ("train", {"steps": 16}, "16 steps"),
        ("evolve", {"accepted": None}, "· children, 0 refused"),
        (
            "evolve",
            {"accepted": 5, "ahead": {"prompts": 2, "seconds": 1.5}},
            "5 children, 0 refused, 2 prompts evolved ahead",
        ),
        ("unheard_of", {}, "9"),
    ],
)
def test_each_stage_reports_its_outcome(stage: str, counts: dict[str, object], text: str) -> None:
    assert outcome(stage, counts, 9) == text


def test_stages_that_take_turns_over_the_chunks_of_a_batch_are_one_line_each_without_their_pauses() -> None:
    clock = Clock()
    progress, console = live(clock)
    for chunk in (1, 2):
        for stage, done, seconds in (("judge_batch", 8, 3.0), ("train", 4, 1.0)):
            progress.on_stage_open(1, stage, done * (chunk - 1), 2 * done)
            progress.on_progress(done * (chunk - 1), 2 * done, {"chunk": chunk, "chunks": 2})
            if (chunk, stage) == (2, "train"):
                assert "training, chunk 2 of 2" in shown(progress, console)
            clock.now += seconds
            progress.on_progress(done * chunk, 2 * done, {})
            if chunk == 2:
                progress.on_stage_close(1, stage, {"steps": 8})
    assert [(stage.name, stage.seconds) for stage in progress.closed_stages] == [("judge_batch", 6.0), ("train", 2.0)]


def test_training_shows_how_much_is_evolved_meanwhile() -> None:
    progress, console = live(Clock())
    progress.on_stage_open(1, "train", 0, 0)
    progress.on_progress(1, 8, {"loss": 0.5, "evolved": 3, "to_evolve": 24})
    assert "training, 3 of 24 evolved ahead" in shown(progress, console)


def test_a_log_is_not_silent_while_engines_load_or_a_stage_takes_long() -> None:
    lines: list[str] = []
    clock = Clock()
    plain = PlainProgress("r", 3, lines.append, clock)
    plain.on_stage_open(0, "start", 0, 0)
    assert lines == ["[0.0 s] iteration 0 (1 of 3), starting: engines, rewarder and trainer load"]
    plain.break_silence()
    assert len(lines) == 1
    clock.now += QUIET_S
    plain.break_silence()
    plain.on_stage_open(0, "judge_batch", 0, 256)
    plain.on_progress(64, 256, {})
    clock.now += QUIET_S
    plain.break_silence()
    assert [line.partition("] ")[2] for line in lines[1:]] == [
        "iteration 0 (1 of 3), starting",
        "iteration 0 (1 of 3), judging the batch (64 of 256 done)",
    ]
