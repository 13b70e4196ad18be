"""Runs that an earlier eva has stored still open, show, fork, export and go on. tests/support/stored_runs/make.py made
them: the dumps beside it are named by the revision of their schema.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eva.settings import Settings
from store.postgres.embedded import EmbeddedServer
from store.runs.runs import find_run
from store.session import open_store
from store.views.exports import EXPORTS
from tests.support.cli_fixtures import Command, command_line
from tests.support.store_fixtures import fresh_database
from tests.support.stored_runs import make

DUMPS = sorted(make.HERE.glob("*.sql.gz"))


@dataclass(frozen=True)
class Stored:
    """A database that an earlier eva wrote; `facts` were recorded with it."""

    eva: Command
    settings: Settings
    facts: dict[str, Any]

    @property
    def names(self) -> dict[str, str]:
        return self.facts["runs"]

    def output(self, *arguments: str | Path) -> str:
        """What `eva` prints for these arguments. Fails the test when the command fails."""
        shown = self.eva(*arguments)
        assert shown.exit_code == 0, f"eva {' '.join(map(str, arguments))}\n{shown.output}"
        return shown.stdout

    def digest(self, name: str) -> str:
        """The fingerprint of a run."""
        return json.loads(self.output("fingerprint", name, "--json"))["digest"]


@pytest.fixture(scope="module", params=DUMPS, ids=lambda dump: dump.name.partition(".")[0])
def stored(
    request: pytest.FixtureRequest, postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stored]:
    dump: Path = request.param
    data_dir = tmp_path_factory.mktemp("stored")
    script = gzip.decompress(dump.read_bytes()).decode().replace(make.DATA_FOLDER, str(data_dir))
    with fresh_database(postgres, template="template0") as url:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(script.encode())
        settings = Settings(data_dir, url, None)
        open_store(settings).close()
        facts = json.loads(dump.with_name(dump.name.replace(".sql.gz", ".json")).read_text())
        yield Stored(command_line(settings, width=200), settings, facts)


@pytest.fixture(autouse=True)
def played_on_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.driver.build_roles", lambda *_args, **_told: nullcontext(make.talk_roles()))


def test_stored_runs_are_listed_as_they_stood(stored: Stored) -> None:
    rows = {row["name"]: row for row in json.loads(stored.output("runs", "--json"))}
    stood = {called: (rows[name]["status"], rows[name]["iteration"]) for called, name in stored.names.items()}
    assert stood == {"kept": ("finished", 3), "other": ("finished", 2), "talks": ("paused", 1)}
    assert all(name in stored.output("runs") for name in stored.names.values())


def test_the_decisions_of_stored_runs_are_the_same(stored: Stored) -> None:
    found = {called: stored.digest(name) for called, name in stored.names.items()}
    assert found == stored.facts["fingerprints"]


def test_stored_runs_are_shown(stored: Stored) -> None:
    for name in stored.names.values():
        assert name in stored.output("show", name)
    facts = json.loads(stored.output("show", stored.names["kept"], "--json"))
    assert facts["heldout"]["hard"]["after"]["greedy"]["correct"] == 4
    assert {name: rows[0]["wins"] for name, rows in facts["win_rates"].items()} == {"easy": 0, "hard": 4}
    assert [row["pairs"] for row in facts["iterations"]] == [6, 11, 13]


def test_stored_runs_keep_the_warm_up_that_they_were_trained_with(stored: Stored) -> None:
    with closing(open_store(stored.settings)) as store, store.transaction() as conn:
        warm_ups = [find_run(conn, name).config["training"]["warmup_from"] for name in stored.names.values()]
    assert warm_ups == ["zero"] * 3


def test_a_prompt_of_a_stored_run_has_its_lineage(stored: Stored) -> None:
    facts = json.loads(stored.output("lineage", stored.names["kept"], "24", "--json"))
    assert facts["prompt"]["operator"] == "breadth" and [one["number"] for one in facts["ancestors"]] == [3]
    assert [one["number"] for one in facts["descendants"]] == [25, 26, 27]
    tree = stored.output("lineage", stored.names["talks"], "0")
    assert tree.startswith("system: You are a patient teacher.")


@pytest.mark.parametrize("what", EXPORTS)
def test_stored_runs_are_exported_in_full(stored: Stored, what: str, tmp_path: Path) -> None:
    for called, name in stored.names.items():
        stored.output("export", name, "--what", what, "--out", tmp_path / f"{called}.jsonl")
        rows = (tmp_path / f"{called}.jsonl").read_text().splitlines()
        # a kind of export that is newer than the stored run has no count there
        assert rows and len(rows) == stored.facts["exported_rows"][called].get(what, len(rows))
        stored.output("export", name, "--what", what, "--format", "parquet", "--out", tmp_path / f"{called}.parquet")


def test_stored_runs_are_compared_replayed_and_reported(stored: Stored, tmp_path: Path) -> None:
    kept, other = stored.names["kept"], stored.names["other"]
    assert "training.beta" in stored.output("compare", kept, other)
    assert "overlap 100%" in stored.output("replay", kept)
    stored.output("report", kept, "--out", tmp_path / "kept.html")
    assert stored.facts["fingerprints"]["kept"][:12] in (tmp_path / "kept.html").read_text()
    assert "iteration_finished" in stored.output("events", kept)
    assert "a colleague's" in stored.output("keys", "list")


def test_a_fork_of_a_finished_stored_run_shares_its_prompts(stored: Stored) -> None:
    kept = stored.names["kept"]
    said = stored.output("fork", kept, "--at", "1", "--set", "training.beta=0.2", "--name", "wider", "--no-play")
    assert said.startswith("wider-") and f"forked from {kept} at iteration 1, 24 prompts shared" in said


def test_a_fork_of_an_open_stored_run_ends_as_the_run_would_have(stored: Stored) -> None:
    fits = "generation.max_tokens=128"  # the default leaves no room in the context of the model that comes with eva
    stored.output("fork", stored.names["talks"], "--at", "1", "--name", "branch", "--set", fits)
    assert stored.digest("branch") == stored.facts["talks_in_the_end"]


def test_an_open_stored_run_goes_on_when_new_code_is_accepted_and_ends_as_it_would_have(stored: Stored) -> None:
    talks = stored.names["talks"]
    refused = stored.eva("resume", talks)
    assert refused.exit_code == 3, refused.output
    assert "other code" in refused.stderr, refused.stderr
    assert "add --accept-changes" in refused.stderr
    stored.output("resume", talks, "--accept-changes")
    assert stored.digest(talks) == stored.facts["talks_in_the_end"]
