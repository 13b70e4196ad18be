"""What a run waits for while nothing of it advances, since when, and how long that took in earlier runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from store.views.run_lists.pages import StandingRow

RECENT = 20
"""How many earlier runs with the same model are asked."""

_SINCE = text("SELECT max(at) FROM events WHERE run_id = :run AND kind = ANY(:kinds)")
_STAGE = text("SELECT started_at FROM stages WHERE run_id = :run AND iteration = :iteration AND name = :name")
_RECENT = """
    SELECT id FROM runs WHERE id <> :run AND forked_from IS NULL
    AND config -> 'model' ->> 'path' = (SELECT config -> 'model' ->> 'path' FROM runs WHERE id = :run)
    ORDER BY id DESC LIMIT :recent
"""
_USUAL_STAGE = text(f"""
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds), count(DISTINCT run_id) FROM stages
    WHERE run_id IN ({_RECENT}) AND name = :name AND status = 'done' AND attempts = 1
""")  # noqa: S608 - texts of this file
_USUAL_START = text(f"""
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds), count(*) FROM (
        SELECT extract(epoch FROM min(stages.started_at) - (
            SELECT min(at) FROM events WHERE events.run_id = stages.run_id AND kind = :kind
        )) AS seconds FROM stages WHERE run_id IN ({_RECENT}) GROUP BY run_id
    ) AS starts WHERE seconds >= 0
""")  # noqa: S608 - texts of this file


@dataclass(frozen=True, slots=True)
class Wait:
    """What a run waits for: `driver` (its process starts), `start` (Ray and the workers start), or a stage of which
    nothing is done yet.

    `usual_s`: the median of earlier runs with the same model, of the start or of the whole stage; None without any.
    `runs`: how many those are.
    """

    what: str
    since: datetime | None
    usual_s: float | None
    runs: int


def read_wait(conn: Connection, row: StandingRow, launched: bool) -> Wait | None:
    """Returns what a run waits for; None while it advances, waits in the queue, or is not played.

    `launched`: whether a driver has been started for it.
    """
    stage, run = row.stage, row.run.id
    if row.standing == "queued" and launched:
        since, what = _since(conn, run, "launched"), "driver"
    elif row.standing != "running":
        return None
    else:
        since, what = _since(conn, run, "running"), "start"
        if stage is not None and stage.status == "running":
            place = {"run": run, "iteration": stage.iteration, "name": stage.name}
            opened = conn.execute(_STAGE, place).scalar_one()
            # a stage that an earlier driver has left open goes on once this one has started
            if since is None or opened >= since:
                if stage.done:
                    return None
                since, what = opened, stage.name
            elif stage.done:
                return None
    own = {"run": run, "recent": RECENT}
    if what in ("driver", "start"):
        kind = "launched" if what == "driver" else "running"
        usual, count = conn.execute(_USUAL_START, {**own, "kind": kind}).one()
    else:
        usual, count = conn.execute(_USUAL_STAGE, {**own, "name": what}).one()
    return Wait(what, since, None if usual is None else float(usual), int(count) if usual is not None else 0)


def _since(conn: Connection, run: int, *kinds: str) -> datetime | None:
    return conn.execute(_SINCE, {"run": run, "kinds": list(kinds)}).scalar()
