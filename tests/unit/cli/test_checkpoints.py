"""`eva checkpoints`: lists, verifies, publishes, serves and prunes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalTokenNotFoundError

from cli.commands.checkpoints import serving_command
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.rows import RunRow
from store.session import Store
from tests.support.cli_fixtures import Command
from tests.support.fakes import PublishingTrainer, Recorder, always, fake_config, fake_roles


@pytest.fixture
def run(store: Store, store_settings: Settings) -> RunRow:
    row = register_run(store, fake_config(model={"path": "playground"}, iterations=2))
    drive(store, store_settings, row, Recorder(), build=always(fake_roles(trainer=PublishingTrainer())))
    return row


def test_the_list_has_sizes_and_digests(eva: Command, run: RunRow) -> None:
    items = json.loads(eva("checkpoints", "list", run.name, "--json").stdout)
    assert [item["number"] for item in items] == [0, 1, 2] and all(item["bytes"] == 640 for item in items)
    shown = eva("checkpoints", "list", "last").stdout
    assert items[2]["digest"][:12] in shown and f"runs/{run.name}/skill-3" in shown.replace("\n", "")


def test_the_path_of_a_checkpoint_is_printed_only_if_its_files_are_whole(eva: Command, run: RunRow) -> None:
    folder = Path(eva("checkpoints", "path", run.name).stdout.strip())
    assert folder.name == "skill-3" and folder.is_dir()
    (folder / "model.safetensors").write_bytes(b"x" * 640)
    refused = eva("checkpoints", "path", run.name, "--checkpoint", "2")
    assert refused.exit_code != 0 and "model.safetensors has changed" in refused.stderr
    assert eva("checkpoints", "path", run.name, "--unverified").stdout.strip() == str(folder)
    assert eva("checkpoints", "path", run.name, "--checkpoint", "0").stdout.strip().endswith("skill-1")
    for choice in ("7", "newest"):
        refused = eva("checkpoints", "path", run.name, "--checkpoint", choice)
        assert refused.exit_code == 2 and "`last`, `best`, or one of 0, 1, 2" in refused.stderr


class FakeHub:
    """Records what a commit would hold."""

    def __init__(self) -> None:
        self.repos: list[tuple[str, bool]] = []
        self.branches: list[str] = []
        self.files: dict[str, Any] = {}

    def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.repos.append((repo, private))

    def create_branch(self, repo: str, *, branch: str, exist_ok: bool) -> None:
        assert exist_ok and repo
        self.branches.append(branch)

    def create_commit(self, repo: str, operations: list[Any], *, commit_message: str, revision: str | None) -> Any:
        assert not self.files, "all files come in one commit"
        self.files = {operation.path_in_repo: operation.path_or_fileobj for operation in operations}
        return type("Commit", (), {"commit_url": f"hub/{repo}/{revision or 'main'}: {commit_message}"})


def test_a_checkpoint_is_published_whole_and_with_its_card(
    eva: Command, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = FakeHub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    pushed = eva("checkpoints", "push", run.name, "me/tides", "--checkpoint", "1", "--revision", "trial")
    assert pushed.exit_code == 0, pushed.stderr
    assert f"hub/me/tides/trial: Checkpoint 1 of {run.name}" in pushed.stdout.replace("\n", "")
    assert (hub.repos, hub.branches) == ([("me/tides", True)], ["trial"])
    assert sorted(hub.files) == ["README.md", "manifest.json", "model.safetensors"]
    card = hub.files["README.md"].decode()
    assert card.startswith("---\nlibrary_name") and "1 of 2, 3 optimiser steps" in card and run.name in card


def test_a_token_that_is_missing_is_said_in_a_sentence(
    eva: Command, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(FakeHub):
        def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> None:
            raise LocalTokenNotFoundError("Token is required")

    monkeypatch.setattr(huggingface_hub, "HfApi", Closed)
    refused = eva("checkpoints", "push", run.name, "me/tides")
    assert refused.exit_code == 2 and "Token is required" in refused.stderr and "HF_TOKEN" in refused.stderr


def test_serving_hands_the_rest_of_the_line_to_vllm() -> None:
    command = serving_command(Path("/c"), "run-1", "127.0.0.1", 8000, ("--tensor-parallel-size", "2"))
    assert command[1:] == [
        *("-P", "-m", "vllm.entrypoints.cli.main", "serve", "/c", "--served-model-name", "run-1"),
        *("--host", "127.0.0.1", "--port", "8000", "--tensor-parallel-size", "2"),
    ]


def test_pruning_says_what_goes_and_why_the_rest_stays(eva: Command, run: RunRow) -> None:
    planned = eva("checkpoints", "prune", run.name, "--keep", "last", "--dry-run").stdout
    assert "would go checkpoint 0" in planned and "kept     checkpoint 2: it is the last" in planned
    assert eva("checkpoints", "path", run.name, "--checkpoint", "0").exit_code == 0
    assert "2 of 3 checkpoints" in eva("checkpoints", "prune", run.name, "--keep", "last,best,2").stdout
    refused = eva("checkpoints", "path", run.name, "--checkpoint", "0")
    assert refused.exit_code == 3 and "was pruned" in refused.stderr
    assert "pruned" in eva("checkpoints", "list", run.name).stdout
    for keep in ("first", "", "last,9"):
        assert eva("checkpoints", "prune", run.name, "--keep", keep).exit_code in (2, 3)
