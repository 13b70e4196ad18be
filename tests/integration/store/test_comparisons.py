"""A baseline's answers and comparisons with them, as they are stored and read."""

from __future__ import annotations

import pytest
from psycopg import IntegrityError

from store.game import comparisons, heldout
from store.rows import ComparedRow, HeldoutComparison, HeldoutResponse
from store.runs import runs
from store.session import Store
from tests.support.heldout_sets import held_out

COMPARED = [HeldoutComparison(0, 0.625, 0.375, 0.75), HeldoutComparison(1, 0.5, None, None, "no verdict\0")]


@pytest.fixture
def run_id(store: Store) -> int:
    with store.transaction() as conn:
        run = runs.create_run(conn, stem="demo", config={}, config_hash="h", seed=7)
        heldout.insert_heldout(conn, run.id, held_out("set", "one", "two"))
        heldout.insert_heldout(conn, run.id, held_out("other", "one"))
        return run.id


def test_a_baseline_comes_back_by_item_and_is_stored_once(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        for _ in range(2):
            comparisons.insert_baseline(conn, run_id, "set", ["first\0", "\\N"])
        assert comparisons.read_baseline(conn, run_id, "set") == {0: "first\ufffd", 1: "\\N"}
        assert comparisons.read_baseline(conn, run_id, "other") == {}


def test_comparisons_come_back_by_item_and_are_stored_once(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        for _ in range(2):
            comparisons.copy_comparisons(conn, run_id, 1, "set", COMPARED[::-1])
        first, second = comparisons.read_comparisons(conn, run_id, 1, "set")
        assert (first, second.reason) == (COMPARED[0], "no verdict\ufffd")
        assert comparisons.read_comparisons(conn, run_id, 2, "set") == []


def test_what_was_compared_is_the_greedy_response_and_that_of_the_file_or_the_initial_model(
    store: Store, run_id: int
) -> None:
    with store.transaction() as conn:
        for checkpoint, texts in {0: ["zero", ""], 1: ["née", "longer"]}.items():
            heldout.copy_heldout_responses(
                conn,
                run_id,
                checkpoint,
                "set",
                "greedy",
                [
                    HeldoutResponse(0, 0, texts[0], "stop", 1, 1.0),
                    HeldoutResponse(1, 0, texts[1], "failed" if checkpoint == 0 else "stop", 0, None, "too long"),
                ],
            )
            heldout.copy_heldout_responses(
                conn, run_id, checkpoint, "set", "sampled", [HeldoutResponse(0, 0, "sampled", "stop", 1, 1.0)]
            )
        comparisons.copy_comparisons(conn, run_id, 1, "set", COMPARED)
        comparisons.copy_comparisons(conn, run_id, 1, "set", [HeldoutComparison(0, 1.0, 0.0, 1.0)], "auditor")
        assert [*comparisons.iter_compared(conn, run_id, "set", 1)] == [
            ComparedRow(1, 0, 0.75, "née", "zero"),
            ComparedRow(1, 1, None, "longer", None),
        ]
        comparisons.insert_baseline(conn, run_id, "set", ["", "12345"])
        assert [*comparisons.iter_compared(conn, run_id, "set", 1)] == [
            ComparedRow(1, 0, 0.75, "née", ""),
            ComparedRow(1, 1, None, "longer", "12345"),
        ]
        assert [*comparisons.iter_compared(conn, run_id, "set", 0)] == []
        # who else compared is kept apart
        assert comparisons.read_comparisons(conn, run_id, 1, "set", "auditor") == [HeldoutComparison(0, 1.0, 0.0, 1.0)]
        assert len(comparisons.read_comparisons(conn, run_id, 1, "set")) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        HeldoutComparison(0, 1.0, 1.0, None),
        HeldoutComparison(0, 1.0, 1.0, 0.5, "and a reason"),
        HeldoutComparison(0, 1.0, 1.0, 1.5),
        HeldoutComparison(0, float("nan"), 1.0, 0.5),
        HeldoutComparison(7, 1.0, 1.0, 0.5),
    ],
)
def test_an_impossible_comparison_is_refused(store: Store, run_id: int, wrong: HeldoutComparison) -> None:
    with pytest.raises(IntegrityError), store.transaction() as conn:
        comparisons.copy_comparisons(conn, run_id, 1, "set", [wrong])
