"""Every way to launch a run checks and stores it alike, and reads its prompts once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from api.service import Service
from eva.config.allowlist import Allowlist
from eva.settings import Settings
from store.runs import launches, runs
from store.session import Store
from tests.support.cli_fixtures import Command
from tests.support.fake_jobs import FakeJobs
from tests.support.service_fixtures import serving

CONFIG = """
prompts: {path: prompts.jsonl}
model: {path: playground}
reward: {kind: mock}
generation: {max_tokens: 64}
evolving: {evolver: {kind: playground}}
evaluation: {playground: 2}
iterations: 1
"""

opened_files: list[str] | None = None


def note_opened_file(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook, which Python cannot remove again: it notes files only while a test listens."""
    if opened_files is not None and event == "open":
        opened_files.append(str(arguments[0]))


sys.addaudithook(note_opened_file)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config file beside a file of prompts."""
    (tmp_path / "prompts.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n{"text": "three"}\n')
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def reads(config: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the file of prompts has been opened so far."""
    monkeypatch.setattr(sys.modules[__name__], "opened_files", [])
    return lambda: (opened_files or []).count(str(config.parent / "prompts.jsonl"))


@pytest.fixture(autouse=True)
def nothing_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are stored, but neither a driver nor a Ray job starts."""
    monkeypatch.setattr("cli.commands.run.play", lambda *_, **__: None)
    monkeypatch.setattr("cli.service_launcher.cluster_jobs", lambda *_: FakeJobs())


@pytest.mark.parametrize(
    ("arguments", "stored"),
    [
        (("run", "CONFIG"), 1),
        (("run", "CONFIG", "--dry-run"), 0),
        (("submit", "CONFIG"), 1),
        (("submit", "CONFIG", "--idempotency-key", "k"), 1),
        (("drive", "--config", "CONFIG"), 1),
        (("drive", "--config", "CONFIG", "--key", "k"), 1),
    ],
)
def test_the_command_line_reads_the_prompts_once(
    eva: Command, store: Store, config: Path, reads: Callable[[], int], arguments: tuple[str, ...], stored: int
) -> None:
    command = [str(config) if argument == "CONFIG" else argument for argument in arguments]
    result = eva(*command, env={"RAY_ADDRESS": "ray://nowhere"})
    assert result.exit_code == 0, result.output
    assert reads() == 1
    with store.transaction() as conn:
        assert [run.prompt_count for run in runs.list_runs(conn)] == [3] * stored


@pytest.mark.parametrize(("query", "status"), [("", 201), ("?dry_run=true", 200)])
def test_the_api_reads_the_prompts_once(
    store: Store, store_settings: Settings, config: Path, reads: Callable[[], int], query: str, status: int
) -> None:
    allowed = Allowlist({"dataset": {"mine": str(config.parent / "prompts.jsonl")}})
    body = {"preset": "playground", "overrides": ["prompts={path: mine}", "evaluation.playground=2"]}
    with serving(Service(store, replace(store_settings, allowed=allowed))) as served:
        answer = served.client.post(f"/v1/runs{query}", json=body)
    assert answer.status_code == status, answer.text
    assert reads() == 1


def test_a_key_gives_the_same_run_without_another_look_at_the_prompts(
    eva: Command, store: Store, config: Path, reads: Callable[[], int]
) -> None:
    def submit() -> str:
        result = eva(
            "submit", config, "--idempotency-key", "k", "--restarts", "2", env={"RAY_ADDRESS": "ray://nowhere"}
        )
        assert result.exit_code == 0, result.output
        return result.stdout

    first = submit()
    (config.parent / "prompts.jsonl").unlink()
    assert submit() == first and reads() == 1
    with store.transaction() as conn:
        (run,) = runs.list_runs(conn)
        launch = launches.read_launch(conn, run.id)
    assert launch is not None and launch.restarts == 2
