"""Compares pull-based dispatch with static shards, and two engines with one, in simulated time.

    python -m benchmarks.dispatch

Engines batch continuously. Response lengths are skewed in two ways: log-normal, and growing along the batch, as if
evolved prompts came after the buffer's. The ideal makespan is that of one engine that gets everything at once, divided
by the number of engines. Nothing sleeps, and every run prints the same figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from eva.types import Request, SamplingSettings
from tests.support.simulated_engines import SimulatedEngines, Speed, skewed_length
from workers.fleet.dispatch import Limits, dispatch

PROMPTS, WINDOW, SPEED = 10_000, 64, Speed(batch=48)
REPEATS = 3
PULLED = Limits(WINDOW, restarts=0, stall_s=1e9)
ALL_AT_ONCE = Limits(PROMPTS, restarts=0, stall_s=1e9)


def requests(repeat: int) -> list[Request]:
    first = repeat * PROMPTS
    return [Request(first + i, "", 6, 0, SamplingSettings(0.7, 0.9, 2048)) for i in range(PROMPTS)]


def length_of(request: Request) -> int:
    """Returns skewed lengths; the last prompts' responses are four times as long as the first ones'."""
    return min(1024, int(skewed_length(request) * (0.4 + 1.2 * (request.number % PROMPTS) / PROMPTS)) + 1)


def makespan(asked: Sequence[Request], engines: int, limits: Limits) -> float:
    fleet = SimulatedEngines(engines, speed=SPEED, length_of=length_of)
    assert len(list(dispatch(asked, fleet, limits))) == len(asked)
    return fleet.now()


def static_shards(asked: Sequence[Request], engines: int) -> float:
    """Gives each engine a contiguous share at once; the stage ends with the slowest engine."""
    size = -(-len(asked) // engines)
    shares = [asked[start : start + size] for start in range(0, len(asked), size)]
    return max(makespan(share, 1, ALL_AT_ONCE) for share in shares)


def batches(asked: Sequence[Request], engines: int) -> float:
    """Gives out static shards, one window after another, with a barrier in between."""
    size = WINDOW * engines
    return sum(static_shards(asked[start : start + size], engines) for start in range(0, len(asked), size))


def main() -> None:
    lengths = sorted(length_of(request) for request in requests(0))
    print(
        f"{PROMPTS} prompts, lengths median {lengths[len(lengths) // 2]}, longest {lengths[-1]} tokens; "
        f"window {WINDOW}, {SPEED.batch} prompts in an engine's batch; {REPEATS} sets of lengths"
    )
    print("makespan over ideal: mean [least .. most]")
    for engines in (2, 4, 8):
        rows: dict[str, list[float]] = {"pull-based": [], "static shards": [], "batches with a barrier": []}
        speedups: list[float] = []
        for repeat in range(REPEATS):
            asked = requests(repeat)
            alone = makespan(asked, 1, ALL_AT_ONCE)
            pulled = makespan(asked, engines, PULLED)
            speedups.append(makespan(asked, 1, PULLED) / pulled)
            for name, seconds in (
                ("pull-based", pulled),
                ("static shards", static_shards(asked, engines)),
                ("batches with a barrier", batches(asked, engines)),
            ):
                rows[name].append(seconds / (alone / engines))
        print(f"{engines} engines: {mean(speedups):.2f} times as fast as one")
        for name, ratios in rows.items():
            print(f"  {name:<24}{mean(ratios):.3f} [{min(ratios):.3f} .. {max(ratios):.3f}]")


if __name__ == "__main__":
    main()
