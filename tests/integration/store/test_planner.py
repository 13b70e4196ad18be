"""Statistics of the query planner: a run that they do not know yet would be planned as if it had one row."""

from __future__ import annotations

from sqlalchemy import Connection, text

from eva.types import PairChoice, Prompt, PromptResponses, Response
from store.game import batches, pairs, prompts, responses
from store.postgres.planner import PlannerStatistics
from store.rows import BatchRow
from store.runs import runs
from store.session import Store
from store.views.exports import iter_pairs

N, PROMPTS = 6, 400


def _new_run(conn: Connection, count: int) -> int:
    run_id = runs.create_run(conn, stem="demo", config={}, config_hash="h", seed=7).id
    prompts.insert_prompts(conn, run_id, [Prompt(number, f"{number}", root=number) for number in range(count)])
    return run_id


def _play(conn: Connection, count: int = PROMPTS, run_id: int | None = None, checkpoint: int = 0) -> int:
    """A run with responses to so many prompts, and a pair of each; or more responses of the same run."""
    if run_id is None:
        run_id = _new_run(conn, count)
    made = tuple(Response(sample, f"answer {sample}", "stop", 5, sample) for sample in range(N))
    responses.copy_responses(
        conn, run_id, checkpoint, [PromptResponses(number, f"{number}", made) for number in range(count)]
    )
    chosen = [PairChoice(number, 0, 1, 1.0, 0.0) for number in range(count)]
    pairs.copy_pairs(conn, run_id, checkpoint, checkpoint, chosen)
    return run_id


def _rows_read(conn: Connection) -> int:
    """How many rows of prompts and responses this transaction has read by an index."""
    return int(
        conn.execute(
            text("SELECT sum(idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relname IN ('prompts', 'responses')")
        ).scalar_one()
    )


def _planned_rows(conn: Connection, run_id: int) -> int:
    plan = conn.execute(text(f"EXPLAIN (FORMAT JSON) SELECT FROM responses WHERE run_id = {run_id}")).scalar_one()
    return int(plan[0]["Plan"]["Plan Rows"])


def test_a_run_that_begins_beside_others_is_planned_by_the_rows_that_it_has(store: Store) -> None:
    with store.transaction() as conn:
        first = _play(conn)
        assert PlannerStatistics().inform(conn, first)
    with store.transaction() as conn:
        second, planner = _play(conn), PlannerStatistics()
        assert _planned_rows(conn, second) == 1, "PostgreSQL has learnt to do this: delete store.postgres.planner"
        assert planner.inform(conn, second)
        assert _planned_rows(conn, second) > N * PROMPTS / 2
        assert len([*pairs.iter_pairs_with_texts(conn, second, 0)]) == PROMPTS
        assert not planner.inform(conn, second), "it has not grown"
        _play(conn, run_id=second, checkpoint=1)
        assert planner.inform(conn, second)


def test_a_small_run_costs_no_statistics(store: Store) -> None:
    with store.transaction() as conn:
        assert not PlannerStatistics().inform(conn, _play(conn, count=100))


def test_the_pairs_of_a_small_run_are_found_by_their_keys_whatever_the_planner_knows(store: Store) -> None:
    def answer(conn: Connection, run_id: int, count: int) -> None:
        made = tuple(Response(sample, f"answer {sample} " * 5, "stop", 5, sample) for sample in range(N))
        responded = [PromptResponses(number, f"{number}", made) for number in range(count)]
        responses.copy_responses(conn, run_id, 0, responded)
        pairs.copy_pairs(conn, run_id, 0, 0, [PairChoice(number, 0, 1, 1.0, 0.0) for number in range(0, count, 3)])
        batches.copy_batch(conn, run_id, 0, [BatchRow(number, True, 0, None, None, 0) for number in range(count)])

    with store.transaction() as conn:
        answer(conn, _new_run(conn, 64), 64)
    with store.transaction() as conn:
        conn.execute(text("ANALYZE prompts"))  # as PostgreSQL does by itself, knowing nothing of the other tables yet
    with store.transaction() as conn:
        second = _new_run(conn, 128)
        answer(conn, second, 32)
    with store.transaction() as conn:
        assert len([*pairs.iter_pairs_with_texts(conn, second, 0, 0)]) == 11
        assert _rows_read(conn) < 5_000, "the planner joined all rows of one table with all of another"
    with store.transaction() as conn:
        assert len([*iter_pairs(conn, second)]) == 11
        assert _rows_read(conn) < 5_000
