"""The house stands: its stairs, its sizes, its names. Each rule is shown to find what it forbids."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator

import pytest
from packaging.requirements import Requirement

from eva import config
from eva.config.files import load_config, presets
from store.schema.columns import SCHEMA_REVISION
from tests.support.structure import (
    FILE_LINES,
    FOLDER_MODULES,
    FUNCTION_LINES,
    LOOP_LINES,
    ROOT,
    RULES,
    Source,
    circles,
    class_names,
    committed,
    folders,
    listings,
    places,
    sources,
    veiled,
)

BROKEN = [
    ("stairs", "eva/types.py", "from store import runs"),
    ("stairs", "eva/types.py", "def f():\n    import orchestrator.loop"),
    ("stairs", "store/runs/runs.py", "from workers.fleet.fleet import Fleet"),
    ("stairs", "workers/fleet/fleet.py", "import store"),
    ("stairs", "api/main.py", "from workers import fleet"),
    ("stairs", "orchestrator/loop.py", "from cli.main import main"),
    ("stairs", "store/runs/runs.py", "from tests.support.fakes import clock"),
    ("stairs", "eva/creator/mixing.py", "from ...store import runs"),
    ("storeys", "store/schema/tables.py", "from store.runs import runs"),
    ("storeys", "store/game/pairs.py", "from store.runs.runs import find_run"),
    ("storeys", "store/rows.py", "def f():\n    from store.session import Store"),
    ("storeys", "store/runs/runs.py", "from ..views import exports"),
    ("storeys", "orchestrator/hold/lease.py", "from orchestrator.journal import Journal"),
    ("storeys", "orchestrator/stages/stage.py", "from orchestrator import driver"),
    ("storeys", "workers/models/embedding.py", "from workers.fleet.fleet import start_fleet"),
    ("joins", "orchestrator/journal.py", "from workers import fleet"),
    ("pure_loop", "orchestrator/loop.py", "from orchestrator.driver import drive"),
    ("pure_loop", "orchestrator/loop.py", "from store import runs"),
    ("pure_loop", "orchestrator/loop.py", "import ray"),
    ("packages", "eva/seeds.py", "import torch.nn"),
    ("packages", "eva/seeds.py", "from sqlalchemy import text"),
    ("packages", "workers/fleet/fleet.py", "import psycopg"),
    ("packages", "api/main.py", "from vllm import LLM"),
    ("queries", "orchestrator/journal.py", "from sqlalchemy import Connection, select"),
    ("queries", "cli/main.py", "from sqlalchemy.sql import text"),
    ("sizes", "eva/seeds.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES),
    ("sizes", "eva/seeds.py", "\n" * (FILE_LINES + 1)),
    ("sizes", "orchestrator/loop.py", "\n" * (LOOP_LINES + 1)),
    ("names", "store/utils.py", ""),
    ("names", "store/runs/runs.py", "class RunManager: ..."),
    ("contents", "store/game/__init__.py", "from store.game import pairs"),
    ("finished", "eva/seeds.py", "# TO~DO: later"),
    ("finished", "eva/seeds.py", "raise NotImplemented~Error"),
    ("ignores", "eva/seeds.py", "x = 1  # type: ~ignore"),
    ("ignores", "eva/seeds.py", "x = 1  # pyright: ~ignore[reportAny]"),
    ("waits", "workers/fleet/fleet.py", "ray.get(answer)"),
    ("waits", "workers/fleet/fleet.py", "done, _ = wait(calls, return_when=FIRST)"),
    ("waits", "workers/fleet/fleet.py", "thread.join()"),
    ("waits", "store/postgres/embedded.py", "fcntl.flock(file, fcntl.LOCK_EX)"),
    ("waits", "cli/diagnosis.py", "subprocess.run(\n    command, check=True)"),
]

ALLOWED = [
    ("stairs", "cli/main.py", "import api.main, orchestrator.driver, store.runs.runs, eva.types, click"),
    ("stairs", "eva/creator/mixing.py", "from ..seeds import derive"),
    ("storeys", "store/views/report.py", "from store.game import pairs\nfrom store.runs import runs, stages"),
    ("storeys", "store/game/pools.py", "from store.game.batches import read_estimates"),
    ("storeys", "orchestrator/driver.py", "import orchestrator.loop\nimport eva.types"),
    ("joins", "orchestrator/driver.py", "from workers.fleet.fleet import start_fleet"),
    ("pure_loop", "orchestrator/loop.py", "from orchestrator.journal import Journal\nfrom eva.types import Prompt"),
    ("queries", "orchestrator/journal.py", "from sqlalchemy import Connection"),
    ("queries", "store/runs/runs.py", "from sqlalchemy import select"),
    ("sizes", "eva/seeds.py", "def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1)),
    ("contents", "store/game/__init__.py", '"""Queries about the game."""'),
    ("ignores", "eva/seeds.py", "x = 1  # pyright: ~ignore[reportAny] - the library is untyped"),
    ("waits", "workers/fleet/fleet.py", "ray.get(answer, timeout=3); event.wait(2); ', '.join(names)"),
    ("waits", "workers/fleet/fleet.py", "future.result()  # bounded: it is done"),
    ("waits", "store/postgres/embedded.py", "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)"),
]

HEAVY = ("torch", "vllm", "trl", "litellm", "distilabel", "transformers", "ray")


@pytest.fixture(scope="module")
def project() -> list[Source]:
    """Every Python file, parsed once for all rules."""
    return sources()


@pytest.mark.parametrize("rule", RULES)
def test_the_project_keeps_the_rule(rule: str, project: list[Source]) -> None:
    found = [finding for source in project for finding in RULES[rule](source)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_the_rule_finds_what_it_forbids(rule: str, path: str, text: str) -> None:
    assert len(list(RULES[rule](Source(path, veiled(text))))) == 1


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED)
def test_the_rule_lets_pass_what_is_allowed(rule: str, path: str, text: str) -> None:
    assert not list(RULES[rule](Source(path, veiled(text))))


@pytest.mark.parametrize("rule", [circles, class_names, folders, listings])
def test_the_project_keeps_the_rule_over_all_its_files(
    rule: Callable[[list[Source]], Iterator[str]], project: list[Source]
) -> None:
    assert list(rule(project)) == []


def test_a_circle_of_packages_is_found() -> None:
    files = [
        Source("store/runs/runs.py", "from store.game import pairs"),
        Source("store/game/pairs.py", "from store.rows import Fence\nfrom store.game import prompts"),
        Source("store/rows.py", "def f():\n    from store.runs.runs import find_run"),
    ]
    assert len(list(circles(files))) == 3
    assert not list(circles(files[:2]))


def test_two_classes_of_one_name_are_found() -> None:
    files = [
        Source("store/rows.py", "class Draft: ..."),
        Source("store/game/pairs.py", "class Draft: ...\nclass _Draft: ..."),
        Source("workers/fleet/fleet.py", "class Draft: ...\nclass _Draft: ...\nclass Fleet: ..."),
        Source("eva/config/solver.py", "class Fleet: ..."),
    ]
    assert [finding.split(": ")[0] for finding in class_names(files)] == [
        "store/game/pairs.py:1 class Draft",
        "class Draft is in store/rows.py, workers/fleet/fleet.py; if it is one thing, add it to ON_SEVERAL_FLOORS",
    ]
    assert not list(class_names(files[3:]))


def test_a_module_that_its_package_does_not_name_is_found() -> None:
    files = [
        Source("store/__init__.py", '"""Queries. `game`: pools."""'),
        Source("store/game/__init__.py", '"""`pools`: what the creator looks at. `pairs` are elsewhere."""'),
        Source("store/game/pools.py", ""),
        Source("store/game/batches.py", ""),
        Source("store/rows.py", ""),
        Source("api/__init__.py", '"""Every folder is a noun."""'),
        Source("api/runs/__init__.py", '"""Runs."""'),
        Source("api/runs/endpoints.py", ""),
    ]
    assert [*listings(files)] == [
        "store/game/__init__.py does not say what batches is",
        "store/__init__.py does not say what rows is",
    ]
    assert not list(listings(files[:3]))


def test_a_folder_with_too_many_modules_is_found() -> None:
    names = [f"cli/{folder}/m{number}.py" for folder in ("rooms", "commands") for number in range(FOLDER_MODULES + 1)]
    files = [Source(name, "") for name in ("cli/rooms/__init__.py", *names)]
    assert [finding.split()[0] for finding in folders(files)] == ["cli/rooms"]
    assert not list(folders([file for file in files if not file.path.endswith("m0.py")]))


def test_every_rule_is_shown_to_find_something() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_the_rules_read_the_whole_project(project: list[Source]) -> None:
    paths = {source.path for source in project}
    assert {"eva/types.py", "orchestrator/loop.py", "store/schema/tables.py", "tests/unit/test_structure.py"} <= paths


def test_every_migration_follows_the_one_before_it() -> None:
    files = sorted((ROOT / "migrations/versions").glob("[0-9]*.py"))
    chain = [re.findall(r'^(?:down_)?revision = (?:"(\d+)"|None)', path.read_text("utf-8"), re.M) for path in files]
    numbers = [f"{number:04}" for number in range(1, len(files) + 1)]
    assert [path.name[:4] for path in files] == numbers, "two migrations have one number: renumber the newer one"
    assert chain == [[number, before] for number, before in zip(numbers, ["", *numbers], strict=False)]
    assert numbers[-1] == SCHEMA_REVISION


def test_no_committed_file_names_a_machine_or_a_registry() -> None:
    files = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in committed()}
    found = [finding for path, content in files.items() for finding in places(path, content)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["cd /wo~rk/main", "https://pypi.~org/simple", "find-links = /opt/~wheels"])
def test_a_machine_path_or_a_registry_is_found_in_any_file(text: str) -> None:
    assert list(places("README.md", veiled(text).encode()))


def loaded_by(statement: str) -> list[str]:
    """Which heavy packages does a fresh interpreter hold after a statement?"""
    code = f"{statement}\nimport sys\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    "module",
    [
        "cli.main",
        "store.session",
        "store.schema.migration",
        "migrations",
        "eva.config.files",
        "api.main",
        "cli.commands.serve",
    ],
)
def test_starts_without_the_heavy_packages(module: str) -> None:
    assert loaded_by(f"import {module}") == []


def test_a_driver_starts_without_the_libraries_of_models() -> None:
    assert loaded_by("import orchestrator.driver") == ["ray"]


def test_a_heavy_package_would_be_seen() -> None:
    assert loaded_by("import sys, types; sys.modules['torch'] = types.ModuleType('torch')") == ["torch"]


def undocumented(section: type[config.Section]) -> list[str]:
    return [f"{section.__name__}.{name}" for name, field in section.model_fields.items() if not field.description]


def sections() -> list[type[config.Section]]:
    return [thing for thing in vars(config).values() if isinstance(thing, type) and issubclass(thing, config.Section)]


def test_every_config_field_has_a_docstring() -> None:
    assert len(sections()) > 10
    assert [field for section in sections() for field in undocumented(section)] == []


def test_a_config_field_without_a_docstring_is_found() -> None:
    class Bare(config.Section):
        depth: int = 1

    assert undocumented(Bare) == ["Bare.depth"]


@pytest.mark.parametrize("preset", presets())
def test_the_preset_loads_and_says_the_same_when_it_is_written_out(preset: str) -> None:
    loaded = load_config(preset)
    assert config.RunConfig.model_validate(loaded.model_dump(mode="json")) == loaded


def test_every_dependency_is_pinned_at_a_version_that_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for device in ("cpu", "gpu"):
        lines = (ROOT / f"constraints/{device}.txt").read_text().splitlines()
        pins = dict(line.split()[0].split("==") for line in lines if not line.startswith("#"))
        extras = project["optional-dependencies"]
        wanted = [*project["dependencies"], *extras["service"], *extras["workers"], *extras[device], *extras["dev"]]
        for asked in map(Requirement, wanted):
            if asked.name == project["name"]:
                continue
            assert asked.specifier.contains(pins[asked.name]), f"{asked} against {pins[asked.name]}"


def test_constraints_name_versions_and_nothing_else() -> None:
    for path in (ROOT / "constraints").glob("*.txt"):
        lines = path.read_text().splitlines()
        strange = [line for line in lines if not line.startswith("#") and "==" not in line.split("#")[0]]
        assert strange == [], path.name
