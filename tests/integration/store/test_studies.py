"""Studies in the store: found by name, with the runs that they consist of."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from eva.errors import NotFoundError
from store.runs import runs, studies
from store.session import Store


def _run(conn: Connection, stem: str) -> int:
    return runs.create_run(conn, stem=stem, config={}, config_hash="h", seed=1).id


def test_a_study_keeps_its_first_config_and_finds_its_runs(store: Store) -> None:
    with store.transaction() as conn:
        study = studies.create_study(conn, "metrics", {"seeds": 2}, "one")
        assert studies.create_study(conn, "metrics", {"seeds": 3}, "other") == study
        first, second, shared = _run(conn, "regret"), _run(conn, "uniform"), _run(conn, "shared")
        place = {"seed": 2**40, "model": "playground"}
        studies.add_run(conn, study.id, arm="regret", shared=True, run_id=shared, **place)
        studies.add_run(conn, study.id, arm="regret", shared=False, run_id=first, **place)
        studies.add_run(conn, study.id, arm="uniform", shared=False, run_id=second, **place)
        studies.add_run(conn, study.id, arm="uniform", shared=False, run_id=first, **place)
        runs.set_status(conn, second, "failed", "out of memory")
        rows = studies.study_runs_of(conn, study.id)
        assert [(row.arm, row.shared, row.run_id) for row in rows] == [
            ("regret", False, first),
            ("regret", True, shared),
            ("uniform", False, second),
        ]
        assert (rows[2].seed, rows[2].status, rows[2].error) == (2**40, "failed", "out of memory")
        assert studies.list_studies(conn) == [studies.StudyCount(study, {"created": 1, "failed": 1})]


def test_the_arms_of_a_study_keep_their_order(store: Store) -> None:
    # without `compare`, the first arm is the one that the others are compared with
    with store.transaction() as conn:
        studies.create_study(conn, "metrics", {"arms": {"regret": {}, "a": {}, "uniform": {}}}, "one")
        assert [*studies.find_study(conn, "metrics").config["arms"]] == ["regret", "a", "uniform"]


def test_a_study_that_does_not_exist_is_not_found(store: Store) -> None:
    with store.transaction() as conn:
        with pytest.raises(NotFoundError, match="there are no studies yet"):
            studies.find_study(conn, "metrics")
        studies.create_study(conn, "metrics", {}, "one")
        with pytest.raises(NotFoundError, match="a study such as metrics"):
            studies.find_study(conn, "metrcs")
