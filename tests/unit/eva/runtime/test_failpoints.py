import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eva.errors import ConfigError, InfrastructureError
from eva.runtime import failpoints
from eva.runtime.failpoints import POINTS, arm, environment, reach
from eva.settings import read_settings
from tests.support.structure import ROOT, sources


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("")


def child(points: str, *reached: str) -> int:
    """Returns the exit status of a process with EVA_FAILPOINTS that reaches these points."""
    code = "import sys; from eva.runtime.failpoints import reach\nfor name in sys.argv[1:]: reach(name)"
    return subprocess.run(
        [sys.executable, "-c", code, *reached],
        check=False,
        stderr=subprocess.DEVNULL,
        env={**os.environ, failpoints.VARIABLE: points},
    ).returncode


def test_every_reach_in_the_source_names_a_declared_point_and_every_declared_point_is_in_the_source() -> None:
    found: list[str] = []
    for source in sources():
        if not source.is_product or source.path == "eva/runtime/failpoints.py":
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), f"{source.path}:{node.lineno} reaches no literal name"
                found.append(str(argument.value))
    assert sorted(found) == sorted(POINTS), "each point at one place, declared in eva/runtime/failpoints.py"


def test_points_do_nothing_unless_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(failpoints.VARIABLE, raising=False)
    read_settings()
    for name in POINTS:
        reach(name)
    assert environment() == {}


def test_a_point_kills_its_process_at_the_given_visit() -> None:
    assert child("stage.left=kill@2", "stage.left", "judge.asked") == 0
    assert child("stage.left=kill@2", "stage.left", "judge.asked", "stage.left") == -signal.SIGKILL
    assert child("*=kill@3", "stage.left", "judge.asked", "lease.renewed") == -signal.SIGKILL


def test_with_a_file_only_one_of_all_processes_is_killed(tmp_path: Path) -> None:
    points = f"training.begun=kill:{tmp_path / 'killed'}"
    assert [child(points, "training.begun") for _ in range(2)] == [-signal.SIGKILL, 0]


def test_points_raise_and_note_and_are_passed_on(tmp_path: Path) -> None:
    text = f"stage.*=raise@2, judge.asked=note:{tmp_path / 'notes'}, judge.asked=sleep:0"
    arm(text)
    assert environment() == {failpoints.VARIABLE: text}
    reach("stage.left")
    reach("judge.asked")
    with pytest.raises(InfrastructureError, match=r"stage\.left.*resume"):
        reach("stage.left")
    reach("stage.left")
    (line,) = (tmp_path / "notes").read_text().splitlines()
    assert line.split()[1:] == [str(os.getpid()), "judge.asked"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stage.flsh.before_commit=kill", r"the nearest are stage\.flush\.before_commit, "),
        ("engines.*=kill", "does not exist"),
        ("stage.left", "NAME=ACTION"),
        ("stage.left=explode", "kill, stop, raise, sleep, note"),
        ("stage.left=kill@0", "counts from 1"),
        ("stage.left=sleep", "sleep:SECONDS"),
        ("stage.left=sleep:soon", "sleep:SECONDS"),
        ("stage.left=raise:now", "NAME=ACTION"),
        ("stage.left=note", "note:FILE"),
    ],
)
def test_an_invalid_variable_is_refused_at_the_start_of_a_command(
    monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, text)
    with pytest.raises(ConfigError, match=told):
        read_settings()


def test_the_page_lists_every_failpoint_and_every_action() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    for name, said in POINTS.items():
        assert f"| `{name}` | {said} |" in page
    for action in failpoints.ACTIONS:
        assert re.search(rf"\| `{action}[:`]", page), action
