"""Statistics of the query planner: a run that they do not know yet would be planned as if it had one row."""

from __future__ import annotations

from sqlalchemy import Connection, text

from eva.types import PairChoice, Prompt, PromptResponses, Response
from store.game import pairs, prompts, responses
from store.postgres.planner import PlannerStatistics
from store.runs import runs
from store.session import Store

N, PROMPTS = 6, 400


def _play(conn: Connection, count: int = PROMPTS, run_id: int | None = None, checkpoint: int = 0) -> int:
    """A run with responses to so many prompts, and a pair of each; or more responses of the same run."""
    if run_id is None:
        run_id = runs.create_run(conn, stem="demo", config={}, config_hash="h", seed=7).id
        prompts.insert_prompts(conn, run_id, [Prompt(number, f"{number}", root=number) for number in range(count)])
    made = tuple(Response(sample, f"answer {sample}", "stop", 5, sample) for sample in range(N))
    responses.copy_responses(
        conn, run_id, checkpoint, [PromptResponses(number, f"{number}", made) for number in range(count)]
    )
    chosen = [PairChoice(number, 0, 1, 1.0, 0.0) for number in range(count)]
    pairs.copy_pairs(conn, run_id, checkpoint, checkpoint, chosen)
    return run_id


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
