"""The tests are dealt out in whole files, and one process gets those with a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.scheduling import FileScheduling, uses_cluster

PLAIN = [f"tests/unit/{name}.py" for name in ("test_pages", "test_structure", "test_deploy", "test_parent_death")]
CLUSTER = [f"tests/integration/orchestrator/{name}.py" for name in ("test_game", "test_game_losses")]


@dataclass(eq=False)
class Process:
    """A process of pytest-xdist: the indexes of the tests that it was sent."""

    gateway: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(id="gw"))
    sent: list[int] = field(default_factory=list)
    done: int = 0
    shutting_down: bool = False

    def send_runtest_some(self, indexes: list[int]) -> None:
        self.sent += indexes

    def shutdown(self) -> None:
        self.shutting_down = True


def dealt(files: list[str], quick: int = 1, slow: int = 1) -> tuple[list[str], list[str]]:
    """The files in the order in which two processes got them; per turn, each finishes so many tests."""
    tests = [f"{file}::test_{number}" for file in files for number in range(4)]
    config = SimpleNamespace(getvalue={"tx": ["2*popen"]}.__getitem__, option=SimpleNamespace(loadscopereorder=True))
    scheduling = FileScheduling(cast("pytest.Config", config))
    processes = (Process(), Process())
    for process in cast("tuple[Any, Any]", processes):
        scheduling.add_node(process)
        scheduling.add_node_collection(process, tests)
    scheduling.schedule()
    for _ in tests:
        for process, count in zip(processes, (quick, slow), strict=True):
            for index in process.sent[process.done :][:count]:
                scheduling.mark_test_complete(cast("Any", process), index)
                process.done += 1
    first, second = ([*dict.fromkeys(tests[index].partition("::")[0] for index in one.sent)] for one in processes)
    assert sorted(first + second) == sorted(files), "each file is run once, by one process"
    return first, second


def test_one_process_gets_all_files_with_a_cluster_and_the_order_stays() -> None:
    first, second = dealt([PLAIN[0], *CLUSTER, *PLAIN[1:]])
    ((owner, other),) = [pair for pair in ((first, second), (second, first)) if CLUSTER[0] in pair[0]]
    assert [file for file in owner if file in CLUSTER] == CLUSTER and not {*other} & {*CLUSTER}
    for files in (owner, other):
        assert [file for file in files if file in PLAIN] == [file for file in PLAIN if file in files]


def test_a_second_cluster_is_started_when_nothing_else_is_left() -> None:
    first, second = dealt([*CLUSTER, PLAIN[0]], quick=1, slow=4)
    assert len({*first} & {*CLUSTER}) == len({*second} & {*CLUSTER}) == 1 and PLAIN[0] in second


def test_the_files_with_a_cluster_are_known_by_their_text(request: pytest.FixtureRequest) -> None:
    items = [item for item in request.session.items if "ray_cluster" in getattr(item, "fixturenames", ())]
    assert all(uses_cluster(item.nodeid.partition("::")[0]) for item in items)
    assert all(map(uses_cluster, CLUSTER)) and not any(map(uses_cluster, PLAIN))
