"""The fingerprint: every decision is in it, nothing else is, and two that differ say where first."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text

from eva.settings import Settings
from eva.types import Reward
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import comparisons, heldout
from store.rows import HeldoutComparison, HeldoutPart, RunRow
from store.runs import runs
from store.schema import tables
from store.schema.migration import migrate
from store.session import Store
from store.views.fingerprint import PARTS, START, Fingerprint, fingerprint, first_difference
from tests.support.cli_fixtures import Command
from tests.support.decisions import fingerprint_of
from tests.support.fakes import FakeGenerator, Recorder, always, fake_config, fake_roles

DECISIONS = {
    "heldout_prompts": {
        "text": "text || '!'",
        "context": "'[]'::jsonb",
        "reference": "'42'",
        "item": None,
        "split": None,
        "turn": None,
        "follows": None,
    },
    "prompts": {
        "text": "text || '!'",
        "context": "'[]'::jsonb",
        "topic": "'maths'",
        "reference": "'42'",
        "likeness": "0.5",
        "guide": "0.5",
        "operator": "operator || '!'",
        "depth": "depth + 1",
        "born": None,
        "number": None,
        "parent": "parent - 1",
        "root": "root - 1",
    },
    "responses": {
        "text_hash": "text_hash + 1",
        "finish": "'length'",
        "tokens": "tokens + 1",
        "seed": "seed + 1",
        "step": "step + 1",
        "prompt": None,
        "checkpoint": None,
        "sample": None,
    },
    "rewards": {
        "value": "value + 1e-15",
        "reason": None,
        "rewarder": "rewarder || '!'",
        "prompt": None,
        "checkpoint": None,
        "sample": None,
    },
    "quarantines": {"reason": "reason || '!'", "prompt": None, "checkpoint": None},
    "estimates": {
        "checkpoint": "checkpoint - 1",
        "info": "info + 1e-15",
        "reason": "'odd'",
        "weight": "weight * 2",
        "key": "key + 1e-14",
        "sampled": "NOT sampled",
        "iteration": None,
        "prompt": None,
    },
    "evolutions": {
        "operator": "operator || '!'",
        "text": "text || '!'",
        "reason": "reason || '!'",
        "child": "child - 1",
        "parent_slot": "parent_slot + 1",
        "iteration": None,
        "source": None,
        "slot": None,
        "attempt": None,
    },
    "batches": {
        "buffer": "NOT buffer",
        "checkpoint": "checkpoint - 1",
        "info": "info + 1e-15",
        "reason": "'odd'",
        "chunk": "coalesce(chunk, 0) + 1",
        "iteration": None,
        "prompt": None,
    },
    "pairs": {
        "chosen_reward": "chosen_reward + 1e-15",
        "rejected_reward": "rejected_reward + 1e-15",
        "margin": "margin + 1e-15",
        "chosen": None,
        "rejected": None,
        "checkpoint": None,
        "iteration": None,
        "prompt": None,
    },
    "heldout_responses": {
        "text": "text || '!'",
        "finish": "'length'",
        "tokens": "tokens + 1",
        "reward": "reward + 1e-15",
        "reason": None,
        "checkpoint": None,
        "split": None,
        "mode": None,
        "item": None,
        "sample": None,
    },
}
"""Columns that are decisions, by table, with a change of each in SQL; None: a key, or bound to another column."""

NO_DECISIONS = {
    "prompts": {"text_key": "text_key + 1"},
    "responses": {"text": "text || '!'"},
    "rewards": {"answer": "'42'"},
    "evolutions": {
        "reference": "'42'",
        "guide": "0.5",
        "prompt_tokens": "prompt_tokens + 1",
        "reply_tokens": "reply_tokens + 1",
        "cost_usd": "cost_usd + 1",
    },
    "estimates": {"first": "NOT first"},
    "batches": {"first": "NOT first"},
    "stages": {"attempts": "attempts + 1", "seconds": "seconds + 1"},
    "events": {"at": "at + interval '1 s'"},
    "runs": {"created_at": "created_at + interval '1 s'", "note": "'a note'"},
}
"""Derived from what is in it, or no decision at all."""


@pytest.fixture
def play(store: Store, tmp_path: Path) -> Callable[..., RunRow]:
    def played(**changes: object) -> RunRow:
        run = register_run(store, fake_config(**changes))
        roles = fake_roles(generator=FakeGenerator(unanswerable=frozenset({3})))
        drive(store, Settings(tmp_path, None, None), run, Recorder(), build=always(roles))
        return run

    return played


def changed(store: Store, run: RunRow, table: str, column: str, change: str) -> Fingerprint:
    """The fingerprint with one row changed where it can be, in a transaction that is rolled back."""
    key = "id" if table == "runs" else "run_id"
    with store.engine.connect() as conn:
        row = conn.execute(
            # names and changes are this file's
            text(f"SELECT max(ctid) FROM {table} WHERE {key} = {run.id} AND {column} IS DISTINCT FROM ({change})")  # noqa: S608
        ).scalar()
        conn.execute(text("SET LOCAL session_replication_role = replica"))
        conn.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
        for constraint in conn.execute(
            text(f"SELECT conname FROM pg_constraint WHERE conrelid = '{table}'::regclass AND contype = 'c'")  # noqa: S608
        ).scalars():
            conn.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}"))
        done = conn.execute(text(f"UPDATE {table} SET {column} = {change} WHERE ctid = '{row}'"))  # noqa: S608 - as above
        assert done.rowcount == 1, f"no row of {table} to change"
        return fingerprint(conn, run.id)


def test_every_change_of_a_decision_shows_and_no_other_does(store: Store, play: Callable[..., RunRow]) -> None:
    run = play(iterations=2)
    before = fingerprint_of(store, run)
    silent = [
        f"{table}.{column}"
        for table, columns in DECISIONS.items()
        for column, change in columns.items()
        if change is not None and changed(store, run, table, column, change).digest == before.digest
    ]
    assert silent == []
    loud = [
        f"{table}.{column}"
        for table, columns in NO_DECISIONS.items()
        for column, change in columns.items()
        if changed(store, run, table, column, change) != before
    ]
    assert loud == []


def test_renaming_the_evaluation_changes_stored_names_and_no_fingerprint(
    store: Store, play: Callable[..., RunRow]
) -> None:
    run = play()
    with store.transaction() as conn:
        comparisons.copy_comparisons(conn, run.id, 1, "easy", [HeldoutComparison(0, 1.0, 0.0, 1.0)])
        part = HeldoutPart(0, 0, "judge/cost_usd", Reward(0.1))
        heldout.copy_heldout_parts(conn, run.id, 1, "easy", "greedy", "auditor", [part])
        heldout.copy_heldout_parts(conn, run.id, 1, "easy", "greedy", "evaluator", [part])
        newest, stored = _evaluation_names(conn), fingerprint(conn, run.id)
        migrate(conn, "0013")
        older = _evaluation_names(conn)
        assert older == {
            "stages": {"baseline", "evaluate"},
            "events": {"baseline", "evaluate"},
            "stage_totals": {"baseline", "evaluate"},
            "heldout_comparisons": {"examiner"},
            "heldout_parts": {"auditor", "examiner"},
        }
        migrate(conn)
        assert _evaluation_names(conn) == newest
        assert newest["stages"] == newest["events"] == newest["stage_totals"] == {"evaluate", "evaluate_initial"}
        assert newest["heldout_comparisons"] == {"evaluator"} and newest["heldout_parts"] == {"auditor", "evaluator"}
        assert fingerprint(conn, run.id) == stored


def _evaluation_names(conn: Connection) -> dict[str, set[str]]:
    """The stored names of stages and roles that evaluate a policy, by table."""
    found: dict[str, set[str]] = {}
    for table, column in (
        (tables.stages, "name"),
        (tables.events, "stage"),
        (tables.stage_totals, "stage"),
        (tables.heldout_comparisons, "role"),
        (tables.heldout_parts, "role"),
    ):
        names = set(conn.execute(select(table.c[column]).distinct()).scalars())
        found[table.name] = {
            name for name in names if name and (column == "role" or name.startswith("evaluate") or name == "baseline")
        }
    return found


def test_every_column_of_the_tables_of_decisions_is_classified() -> None:
    for name, columns in DECISIONS.items():
        known = {"run_id", *columns, *NO_DECISIONS.get(name, {})}
        assert {column.name for column in tables.metadata.tables[name].columns} == known, name


def test_a_change_is_placed_in_its_iteration_and_part(store: Store, play: Callable[..., RunRow]) -> None:
    run = play()
    before = fingerprint_of(store, run)
    found = first_difference(before, changed(store, run, "pairs", "margin", "margin + 1"))
    assert found is not None and (found.iteration, found.part) == (2, "pairs")
    assert found.one != found.other and found.one is not None and found.other is not None
    assert found.one.rows == found.other.rows
    found = first_difference(before, changed(store, run, "quarantines", "reason", "'odd'"))
    assert found is not None and found.part == "pool_quarantines"


def test_the_same_seed_gives_the_same_fingerprint_whatever_the_order_of_the_rows(
    store: Store, play: Callable[..., RunRow]
) -> None:
    one, same, other = play(seed=7), play(seed=7), play(seed=8)
    with store.transaction() as conn:
        for table in DECISIONS:
            # an update moves a row to the end of the table
            conn.execute(text(f"UPDATE {table} SET run_id = run_id WHERE run_id = {same.id} AND ctid::text LIKE '%3)'"))  # noqa: S608 - names are this file's
    assert fingerprint_of(store, one) == fingerprint_of(store, same)
    assert fingerprint_of(store, one).digest != fingerprint_of(store, other).digest
    found = first_difference(fingerprint_of(store, one), fingerprint_of(store, other))
    assert found is not None and (found.iteration, found.part) == (START, "prompts")


def test_a_shorter_run_differs_first_where_it_ends(store: Store, play: Callable[..., RunRow]) -> None:
    short, long = play(iterations=2), play(iterations=3)
    found = first_difference(fingerprint_of(store, short), fingerprint_of(store, long))
    assert found is not None and (found.iteration, found.part, found.one) == (2, "pool_responses", None)


def test_the_parts_stand_in_the_order_of_play_and_count_their_rows(store: Store, play: Callable[..., RunRow]) -> None:
    parts = fingerprint_of(store, play(iterations=2)).parts
    absent = (
        *("references", "guards", "child_quarantines", "chunks", "steps", "advantages"),
        *("creator_rewards", "categories"),
    )
    assert [(part.iteration, part.part) for part in parts] == [
        (START, "heldout_prompts"),
        (START, "prompts"),
        (START, "heldout"),
        *((0, part) for part in PARTS[2:5]),
        (0, "batch"),
        (0, "pairs"),
        (0, "heldout"),
        *((1, part) for part in PARTS[2:] if part not in absent),
    ]
    rows = {(part.iteration, part.part): part.rows for part in parts}
    assert rows[0, "pool_responses"] == 23 * 4 and rows[0, "pool_quarantines"] == 1 and rows[1, "info"] == 24


def test_texts_that_look_like_the_format_are_distinguished(store: Store) -> None:
    found: set[str] = set()
    with store.transaction() as conn:
        for texts in (
            [("a\tb", None)],
            [("a", "b")],
            [("a\\tb", None)],
            [("a\\N", None)],
            [("a", "\\N")],
            [("a\nb", None)],
            [("a", None), ("b", None)],
        ):
            run = runs.create_run(conn, stem="x", config={}, config_hash="h", seed=1)
            for number, (one, topic) in enumerate(texts):
                conn.execute(
                    text(
                        "INSERT INTO prompts (run_id, number, text, text_key, root, depth, born, topic)"
                        " VALUES (:run, :number, :text, 0, 0, 0, -1, :topic)"
                    ),
                    {"run": run.id, "number": number, "text": one, "topic": topic},
                )
            found.add(fingerprint(conn, run.id).digest)
    assert len(found) == 7


def test_memory_does_not_grow_with_the_run(store: Store) -> None:
    with store.transaction() as conn:
        run = runs.create_run(conn, stem="large", config={}, config_hash="h", seed=1)
        conn.execute(
            text(
                "INSERT INTO prompts (run_id, number, text, text_key, root, depth, born)"
                " SELECT :run, i, repeat('word ', 100), i, i, 0, -1 FROM generate_series(0, 39999) i"
            ),
            {"run": run.id},
        )
        fingerprint(conn, run.id - 1)
        tracemalloc.start()
        rows = fingerprint(conn, run.id).parts[0].rows
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert rows == 40_000 and peak < 1_000_000, "20 MB of prompts passed through"


def test_the_command_prints_the_digest_and_says_equal_or_where_two_runs_first_differ(
    store: Store, play: Callable[..., RunRow], eva: Command
) -> None:
    one, same, other = play(), play(), play(sampling={"fraction": 0.5})
    shown = eva("fingerprint", one.name)
    assert shown.exit_code == 0 and fingerprint_of(store, one).digest in shown.stdout.splitlines()[0]
    assert "pool responses" in shown.stdout and "weights of checkpoint 3" in shown.stdout
    shown = eva("fingerprint", one.name, same.name)
    assert shown.exit_code == 0 and "equal" in shown.stdout
    shown = eva("fingerprint", one.name, other.name)
    assert shown.exit_code == 1 and "different: first in iteration 1, draw" in shown.stdout
    assert "weights differ from checkpoint 2 on" in shown.stdout
    facts = json.loads(eva("fingerprint", one.name, other.name, "--json").stdout)
    assert facts["equal"] is False and facts["first_difference"]["part"] == "draw" and facts["weights_differ_from"] == 2
    facts = json.loads(eva("fingerprint", same.name, "--json").stdout)
    assert facts["digest"] == fingerprint_of(store, same).digest and facts["parts"][0]["part"] == "heldout_prompts"


def test_the_command_names_the_nearest_run_for_one_that_is_not_there(play: Callable[..., RunRow], eva: Command) -> None:
    run = play(iterations=1)
    shown = eva("fingerprint", run.name, "fake-none")
    assert shown.exit_code == 2 and run.name in shown.stderr
