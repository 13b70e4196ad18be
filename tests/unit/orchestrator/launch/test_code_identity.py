"""Which code a run remembers: every file that decides, and none that only starts, watches or shows."""

from __future__ import annotations

import pytest

from orchestrator.launch.code_identity import DECIDES, FLOORS, code_differences, code_identity, decides
from tests.support.fakes import fake_config
from tests.support.structure import ROOT, Source

FILES = sorted(path.relative_to(ROOT).as_posix() for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))


def test_every_folder_that_has_code_is_said_to_decide_or_not() -> None:
    parents = {name.rpartition("/")[0] for name in FILES}
    rooms = {"/".join(name.split("/")[:2]) for name in parents if "/" in name}
    assert not rooms - DECIDES.keys(), "add the folder to DECIDES: could a change there change what a run decides?"


def test_every_entry_names_something_and_changes_something() -> None:
    assert not [name for name in DECIDES if not (ROOT / name).exists()]
    idle = [
        name
        for name, decision in DECIDES.items()
        if name.endswith(".py") and DECIDES[name.rpartition("/")[0]] == decision
    ]
    assert not idle, "the folder's entry says so already"


@pytest.mark.parametrize(
    "name",
    [
        "eva/creator/sampling.py",
        "eva/config/creator.py",
        "eva/measures/diversity.py",
        "eva/seeds.py",
        "orchestrator/loop.py",
        "orchestrator/stages/judging.py",
        "workers/models/chat_template.py",
        "workers/rewards/networks/pairwise.py",
        "workers/training/losses/own.py",
    ],
)
def test_rules_stages_and_workers_are_remembered(name: str) -> None:
    assert name in FILES
    assert name in code_identity(fake_config())["files"]


@pytest.mark.parametrize(
    "name",
    [
        "eva/config/tracking.py",
        "eva/errors.py",
        "eva/runtime/logs.py",
        "eva/runtime/redaction.py",
        "orchestrator/hold/lease.py",
        "orchestrator/launch/launcher.py",
        "orchestrator/tracking/points.py",
        "orchestrator/watch/tracing.py",
        "workers/cluster/jobs.py",
        "workers/tracking/to_mlflow.py",
    ],
)
def test_logging_tracking_and_launching_are_not(name: str) -> None:
    assert name in FILES
    assert name not in code_identity(fake_config())["files"]


def test_a_folder_that_nobody_has_listed_counts() -> None:
    assert decides("eva_of_the_future/rules.py")
    assert not [name for name in code_identity(fake_config())["files"] if name.startswith(("tests", "cli", "api"))]


def test_a_new_version_that_decides_the_same_is_no_difference() -> None:
    present = code_identity(fake_config())
    kept = {
        "packages": present["packages"] | {"eva": "0.0.1"},
        "files": present["files"] | {"eva/logs.py": "as it was", "orchestrator/watch/tracing.py": "as it was"},
    }
    assert code_differences(kept, present) == []
    kept = {"packages": present["packages"] | {"trl": "0.0.1"}, "files": {**present["files"], "eva/seeds.py": "other"}}
    assert [line.partition(":")[0] for line in code_differences(kept, present)] == ["trl", "eva/seeds.py"]


SERVICES = (
    "eva/config/",
    "eva/errors.py",
    "eva/library_failures.py",
    "eva/roles.py",
    "eva/runtime/",
    "eva/settings.py",
    "eva/storage/",
    "orchestrator/hold/chain_files.py",
    "orchestrator/hold/claimed_run.py",
    "orchestrator/hold/pruning.py",
    "orchestrator/hold/record_files.py",
    "orchestrator/hold/writer.py",
    "orchestrator/watch/tracing.py",
    "workers/cluster/",
)
"""What code that decides may use of the code that does not; the driver, which joins everything, uses more."""


def test_no_rule_hides_where_nothing_decides() -> None:
    used = {
        (name, _file_of(module))
        for name in FILES
        if decides(name) and name != "orchestrator/driver.py"
        for _, module in Source(name, (ROOT / name).read_text()).imports
        if module.split(".")[0] in FLOORS
    }
    assert not [pair for pair in sorted(used) if not decides(pair[1]) and not pair[1].startswith(SERVICES)]


def _file_of(module: str) -> str:
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = "/".join(parts[:length])
        if (ROOT / f"{name}.py").exists():
            return f"{name}.py"
        if (ROOT / name / "__init__.py").exists():
            return f"{name}/__init__.py"
    return module
