"""What all tests share: tiers by folder, heavy ones last, fixtures, and no silent skip in CI."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.scheduling import FileScheduling

# A machine under load is slow, not wrong.
settings.register_profile("eva", deadline=None)
settings.load_profile("eva")
# As eva's own processes have it. Threads of torch that spin while they wait for each other, on cores that another
# process of the tests has, take up to ten times the processor time. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

pytest_plugins = [
    f"tests.support.{path.stem}" for path in sorted((Path(__file__).parent / "support").glob("*_fixtures.py"))
]

TIERS = ("unit", "integration", "faults", "browser", "gpu")
"""Folders of tests, each a marker, in the order in which they run."""


def tier(path: Path) -> str:
    """The tier of a test file: the folder below tests/ that holds it."""
    return path.relative_to(Path(__file__).parent).parts[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, and run the tiers in order; files stay together.

    After the unit tests come the files of all tiers with a Ray cluster: one process runs those, and the other meanwhile
    the rest. The files that are left at the end are small, so that neither process waits long for the other.
    """
    for item in items:
        if not any(item.get_closest_marker(name) for name in TIERS):
            item.add_marker(tier(item.path))
        if "postgres" in getattr(item, "fixturenames", ()):
            item.add_marker("database")
    with_cluster = {item.path for item in items if "ray_cluster" in getattr(item, "fixturenames", ())}
    places = {name: place for place, name in enumerate(TIERS)}

    def order(item: pytest.Item) -> tuple[bool, bool, int]:
        place = min(places[mark.name] for mark in item.iter_markers() if mark.name in places)
        return place > 0, item.path not in with_cluster, place

    items.sort(key=order)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported: it would go over a million objects for each full collection."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileScheduling | None:
    """Deal out whole files, unless the command line asks for another way."""
    from tests.support.scheduling import FileScheduling

    return FileScheduling(config, log) if config.getvalue("dist") == "load" else None


def refuse(report: pytest.TestReport | pytest.CollectReport, *, in_ci: bool) -> None:
    """Makes a skip a failure in CI, where what did not run was not proven; only a GPU may be missing there."""
    if in_ci and report.skipped and "gpu" not in report.nodeid.split("/") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"CI accepts no skip: {report.longrepr}"


def in_ci() -> bool:
    return os.environ.get("CI") == "true"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    refuse(report, in_ci=in_ci())
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse(report, in_ci=in_ci())
    return report
