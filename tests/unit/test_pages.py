"""The pages of the documentation: every link, path, test, make target and command that they name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from cli.main import COMMANDS
from tests.support.structure import ROOT, committed

PAGES = sorted(path for path in committed() if path.suffix == ".md")
FOLDERS = (
    "eva",
    "store",
    "workers",
    "orchestrator",
    "api",
    "cli",
    "migrations",
    "tests",
    "benchmarks",
    "docs",
    "deploy",
)

_LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
_PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w")
_CODE = re.compile(r"^```.*?\n(.*?)^```|`([^`\n]+)`", re.M | re.S)
_TEST = re.compile(r"\btest_\w+\b(?:\.py)?")
_MAKE = re.compile(r"^make ([a-z-]+)", re.M)
_COMMAND = re.compile(r"(?:^|[&;] |bin/)eva ([a-z]+)\b", re.M)


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


@cache
def names_of_tests() -> frozenset[str]:
    """Every test function and every file of tests."""
    files = [path for path in committed() if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")]
    functions = {name for path in files for name in re.findall(r"def (test_\w+)", path.read_text("utf-8"))}
    return frozenset(functions | {path.name for path in files})


def broken_links(page: Path, text: str) -> Iterator[str]:
    for path, anchor in _LINK.findall(text):
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            yield f"the link {path}"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield f"the anchor #{anchor} of {path or page.name}"


def code_of(text: str) -> list[str]:
    """The code of a page: its fenced blocks and what stands between backticks."""
    return [block or inline for block, inline in _CODE.findall(text)]


def missing_paths(text: str) -> Iterator[str]:
    for code in code_of(text):
        for path in _PATH.findall(code):
            if not (ROOT / path).exists() and not [*ROOT.glob(f"{path}*.py")]:
                yield f"the path {path}"


def missing_names(text: str) -> Iterator[str]:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    for code in code_of(text):
        yield from (f"the test {name}" for name in _TEST.findall(code) if name not in names_of_tests())
        yield from (f"make {target}" for target in _MAKE.findall(code) if target not in targets)
        yield from (f"eva {command}" for command in _COMMAND.findall(code) if command not in COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_what_the_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    assert [*broken_links(page, text), *missing_paths(text), *missing_names(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "[a](docs/nothing.md)",
        "[a](docs/report.md#nothing)",
        "`eva/nothing.py`",
        "`store/nothing/`",
        "`test_nothing_of_the_kind`",
        "`make nothing`",
        "`eva nothing`",
    ],
)
def test_what_does_not_exist_is_found(text: str) -> None:
    found = [*broken_links(ROOT / "README.md", text), *missing_paths(text), *missing_names(text)]
    assert len(found) == 1


@pytest.mark.parametrize(
    "text", ["[a](docs/report.md#as-one-html-page)", "`eva/seeds.py`", "`make demo`", "`eva runs`"]
)
def test_what_exists_is_accepted(text: str) -> None:
    assert [*broken_links(ROOT / "README.md", text), *missing_paths(text), *missing_names(text)] == []
