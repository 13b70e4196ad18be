"""The progress of a run that plays: a live display on a terminal, one line per finished stage elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Thread
from types import TracebackType
from typing import Self, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli.terminal.formats import doing, done, duration, number, place
from cli.terminal.safe_text import printable

WINDOW_S = 20.0
SETTLED_S = 0.3
"""Units reported as done within this time after a stage opened were done by an earlier driver."""
QUIET_S = 30.0
"""In a pipe or log, the longest time without a line: loading engines or judging can take many minutes."""
SHOWN_VALUES = {"loss": "loss", "rewards/margins": "margin", "reward": "reward", "ratio": "ratio"}


@dataclass
class StagePace:
    """The stage that is open; `points` are (seconds, units done) over the last WINDOW_S."""

    iteration: int
    name: str
    done: int
    total: int
    since: float
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    points: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    def advance(self, now: float, done: int, total: int, values: Mapping[str, float]) -> None:
        self.done, self.total, self.values = done, total, values or self.values
        if now - self.since < SETTLED_S:
            self.points.clear()
        self.points.append((now, done))
        while now - self.points[0][0] > WINDOW_S and len(self.points) > 2:
            self.points.popleft()

    def go_on(self, pause_s: float) -> None:
        """Leaves out a pause in which other stages worked."""
        self.since += pause_s
        self.points = deque((at + pause_s, done) for at, done in self.points)

    @property
    def title(self) -> str:
        """What the stage is doing, with the chunk of a batch that is cut, and what is evolved meanwhile."""
        chunk, chunks = self.values.get("chunk"), self.values.get("chunks")
        where = f", chunk {chunk:.0f} of {chunks:.0f}" if chunk is not None and chunks is not None else ""
        evolved, to_evolve = self.values.get("evolved"), self.values.get("to_evolve")
        if evolved is not None and to_evolve is not None:
            where += f", {evolved:,.0f} of {to_evolve:,.0f} evolved ahead"
        return doing(self.name) + where

    def rate(self, now: float) -> float | None:
        """Units per second over the last WINDOW_S; None as long as there is too little to measure."""
        if not self.points:
            return None
        then, before = self.points[0]
        return (self.done - before) / (now - then) if self.done > before and now - then >= SETTLED_S else None

    def remaining_s(self, now: float) -> float | None:
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate and self.total else None


@dataclass(frozen=True, slots=True)
class ClosedStage:
    """A stage that is complete; `text` says what it did."""

    iteration: int
    name: str
    seconds: float
    text: str


class Watch:
    """A listener (`orchestrator.watch.listener`) that tracks where the run stands; its subclasses also show it."""

    def __init__(self, run: str, iterations: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.run, self.iterations = run, iterations
        self.clock, self.began = clock, clock()
        self.open: StagePace | None = None
        # stages that wait while others work on a chunk of the batch, and since when
        self._waiting: dict[tuple[int, str], tuple[StagePace, float]] = {}
        self.closed_stages: list[ClosedStage] = []
        self.note: str | None = None
        self.iteration = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace

    def on_stage_open(self, iteration: int, stage: str, done: int, total: int) -> None:
        now = self.clock()
        self.iteration = max(self.iteration, iteration)
        if self.open is not None and (self.open.iteration, self.open.name) == (iteration, stage):
            self.open.advance(now, done, total, {})
            return
        if (before := self.open) is not None:
            if before.name == "start":  # it ends when the first stage begins
                self.closed_stages.append(ClosedStage(before.iteration, before.name, now - before.since, ""))
            else:
                self._waiting[before.iteration, before.name] = before, now
        pace, left = self._waiting.pop((iteration, stage), (StagePace(iteration, stage, done, total, now), now))
        pace.go_on(now - left)
        pace.done, pace.total = done, total
        self.open = pace

    def on_progress(self, done: int, total: int, values: Mapping[str, float]) -> None:
        if self.open is not None:
            self.open.advance(self.clock(), done, total, values)

    def on_stage_close(self, iteration: int, stage: str, counts: Mapping[str, object]) -> None:
        now, current = self.clock(), self.open
        mine = current is not None and (current.iteration, current.name) == (iteration, stage)
        seconds = now - current.since if current is not None and mine else 0.0
        total = current.total if current is not None and mine else 0
        self.closed_stages.append(ClosedStage(iteration, stage, seconds, outcome(stage, counts, total)))
        self.open = None

    def on_message(self, text: str) -> None:
        self.note = f"[{duration(self.clock() - self.began)}] {text}"

    def where(self) -> str:
        """Where the run stands, in words."""
        where = place(self.iteration, self.iterations)
        if self.open is None:
            return where
        share = f" ({self.open.done:,} of {self.open.total:,} done)" if self.open.total else ""
        return f"{where}, {self.open.title}{share}"


def outcome(stage: str, counts: Mapping[str, object], total: int) -> str:
    """What a finished stage did, in a few words, from the counts it stored."""
    if stage.startswith("judge") or stage in ("evaluate_initial", "evaluate"):
        return f"{total:,} prompts" if stage.startswith("judge") else f"{total:,} requests{_won(counts)}"
    match stage:
        case "sample":
            return f"{number(counts.get('sampled'))} of {total:,}"
        case "evolve":
            return f"{number(counts.get('accepted'))} children, {_sum(counts.get('refused')):,} refused{_ahead(counts)}"
        case "mix":
            return f"{number(counts.get('children'))} children, {number(counts.get('buffer'))} from the pool"
        case "pair":
            return f"{number(counts.get('pairs'))} pairs"
        case "advantage":
            return f"{number(counts.get('responses'))} responses"
        case "train" | "train_creator":
            return f"{number(counts.get('steps'))} steps"
        case "reward_creator":
            return f"{number(counts.get('trained'))} replies to learn from"
        case _:
            return f"{total:,}" if total else ""


def _ahead(counts: Mapping[str, object]) -> str:
    """How many prompts were evolved before their turn, if any were."""
    ahead = cast("Mapping[str, float]", counts.get("ahead") or {})
    return f", {number(ahead['prompts'])} prompts evolved ahead" if ahead else ""


def _won(counts: Mapping[str, object]) -> str:
    """The win rate of each held-out set that has a baseline."""
    shares = cast("Mapping[str, float | None]", counts.get("win_rate") or {})
    known = [f"{share:.0%}" for share in shares.values() if share is not None]
    return f", {', '.join(known)} won" if known else ""


def _sum(counts: object) -> int:
    return sum(counts.values()) if isinstance(counts, dict) else 0  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType, reportUnknownVariableType] - counts of a stage are JSON


class LiveProgress(Watch):
    """A display that is redrawn in place. It is removed at the end, unless `stays`."""

    def __init__(
        self,
        run: str,
        iterations: int,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        *,
        stays: bool = False,
    ) -> None:
        super().__init__(run, iterations, clock)
        self._spinner = Spinner("dots")
        self._live = Live(
            console=console,
            get_renderable=self.render,
            refresh_per_second=8,
            transient=not stays,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def render(self) -> RenderableType:
        """A line for the run, one per finished iteration, one per stage of the current iteration."""
        now = self.clock()
        head = Text.assemble(
            (printable(self.run), "bold"),
            (f"  {place(self.iteration, self.iterations)} · {duration(now - self.began)}", "dim"),
        )
        grid = Table.grid(padding=(0, 2, 0, 0))
        for stage in [stage for stage in [*self.closed_stages] if stage.iteration >= self.iteration]:
            grid.add_row(
                Text("✓", style="green"),
                done(stage.name),
                Text(stage.text, style="dim"),
                Text(duration(stage.seconds), style="dim", justify="right"),
            )
        if (current := self.open) is not None:
            grid.add_row(self._spinner, current.title, self._bar(current), self._pace(current, now))
        note = [Text(printable(self.note), style="yellow")] if self.note else []
        return Group(head, *self._finished_iterations(), grid, *note)

    def _finished_iterations(self) -> list[Text]:
        lines: list[Text] = []
        for iteration in range(self.iteration):
            stages = [stage for stage in self.closed_stages if stage.iteration == iteration]
            facts = [stage.text for stage in stages if stage.name in ("evolve", "pair", "advantage", "train")]
            if stages:
                lines.append(
                    Text.assemble(
                        ("✓  ", "green"),
                        f"iteration {iteration}  ",
                        (" · ".join([*facts, duration(sum(stage.seconds for stage in stages))]), "dim"),
                    )
                )
        return lines

    def _bar(self, stage: StagePace) -> RenderableType:
        if not stage.total:
            return Text()
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_row(ProgressBar(total=stage.total, completed=stage.done, width=16), f"{stage.done:,}/{stage.total:,}")
        return grid

    def _pace(self, stage: StagePace, now: float) -> Text:
        rate, remaining = stage.rate(now), stage.remaining_s(now)
        if rate is None or remaining is None:
            return Text(duration(now - stage.since), style="dim")
        parts = [f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s", f"ETA {duration(remaining)}"]
        parts += [f"{label} {stage.values[name]:.3f}" for name, label in SHOWN_VALUES.items() if name in stage.values]
        return Text(" · ".join(parts), style="dim")


class PlainProgress(Watch):
    """One line per finished stage, for pipes and logs, and one for what is going on after QUIET_S without any."""

    def __init__(
        self,
        run: str,
        iterations: int,
        write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(run, iterations, clock)
        self._write, self._wrote = write, self.began
        self._over = Event()
        self._thread = Thread(target=self._break_silence, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()  # bounded: by the line that the thread writes

    def on_stage_open(self, iteration: int, stage: str, done: int, total: int) -> None:
        super().on_stage_open(iteration, stage, done, total)
        if stage == "start":
            self._say(f"{self.where()}: engines, rewarder and trainer load")

    def break_silence(self) -> None:
        """Writes where the run stands, if nothing was written for QUIET_S."""
        if self.clock() - self._wrote >= QUIET_S:
            self._say(self.where())

    def _break_silence(self) -> None:
        while not self._over.wait(1.0):
            self.break_silence()

    def _say(self, text: str) -> None:
        self._wrote = self.clock()
        self._write(f"[{duration(self._wrote - self.began)}] {text}")

    def on_stage_close(self, iteration: int, stage: str, counts: Mapping[str, object]) -> None:
        super().on_stage_close(iteration, stage, counts)
        last = self.closed_stages[-1]
        self._say(
            f"iteration {iteration}  {done(stage)}"
            + (f": {last.text}" if last.text else "")
            + f", {duration(last.seconds)}"
        )

    def on_message(self, text: str) -> None:
        super().on_message(text)
        self._say(text)


def watch_of(
    name: str, iterations: int, iteration: int, console: Console, write: Callable[[str], None], *, stays: bool = False
) -> Watch:
    """The progress display for a run at `iteration`: live on a terminal, otherwise lines passed to `write`.

    `stays`: what the live display has listed stays on the terminal at the end.
    """
    live = console.is_terminal and not console.is_dumb_terminal
    watch = LiveProgress(name, iterations, console, stays=stays) if live else PlainProgress(name, iterations, write)
    watch.iteration = iteration
    return watch
