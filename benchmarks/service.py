"""Compares every read endpoint over a run of a million prompts and six million responses with one of a thousand.

    python -m benchmarks.service [--prompts 1000000] [--asks 40] [--folder PATH] [--json]

A page, a prompt or a family should cost the same in a run a thousand times as large. The benchmark then stores rewarded
responses in batches through the store, and compares the rate with that of one plain COPY of the same rows into the same
tables. It uses a database of its own in a temporary folder, and takes some minutes and about 5 GB.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from sqlalchemy import text

from api.main import create_app
from api.service import Service
from benchmarks.measuring import machine
from eva.config.files import load_config
from eva.settings import Settings
from eva.types import PromptResponses, Response, Reward, RewardedResponses
from store.game.responses import copy_responses, copy_rewards
from store.postgres.bulk import driver
from store.runs.runs import create_run, set_status
from store.session import Store, open_store

SMALL, N, ITERATIONS, STORED = 1_000, 6, 4, 20_000
NOT_ASKED = ("/healthz", "/v1/openapi.json", "/events/stream", "/logs", "/exports", "/v1/keys", "/v1/session", "/file")
WORDS = [
    "sort",
    "reverse",
    "keep",
    "drop",
    "count",
    "letters",
    "numbers",
    "words",
    "list",
    "after",
    "before",
    "twice",
    "then",
    "except",
    "every",
    "first",
]
OPERATORS = ["deepening", "breadth", "constraints", "reasoning", "concretizing"]

# A quarter are seeds; each later iteration evolves the quarter before it, with the same roots.
_PROMPTS = """
    INSERT INTO prompts (run_id, number, text, text_key, parent, root, operator, depth, born, topic)
    SELECT :run, n, 'Take ' || md5(n::text) || ' and ' || (CAST(:words AS text[]))[1 + n % 16] || ' it, then '
        || (CAST(:words AS text[]))[1 + n / 16 % 16] || ' it', hashint8extended(n, 7),
        CASE WHEN n >= :quarter THEN n - :quarter END, n % :quarter,
        CASE WHEN n >= :quarter THEN (CAST(:operators AS text[]))[1 + n % 5] END,
        n / :quarter, n / :quarter - 1, (ARRAY['letters', 'numbers', 'words'])[1 + n % 3]
    FROM generate_series(0, 4 * :quarter - 1) AS n
"""
_RESPONSES = """
    INSERT INTO responses (run_id, prompt, checkpoint, sample, text, text_hash, finish, tokens, seed)
    SELECT :run, n, n / :quarter, sample, md5((n * 6 + sample)::text) || repeat(' and so on', 12),
        hashint8extended(n * 6 + sample, 1), 'stop', 40 + sample, n * 6 + sample
    FROM generate_series(0, 4 * :quarter - 1) AS n, generate_series(0, 5) AS sample
"""
_REWARDS = """
    INSERT INTO rewards (run_id, prompt, checkpoint, sample, rewarder, value)
    SELECT :run, n, n / :quarter, sample, 'mock', (hashint8extended(n * 6 + sample, 3) & 1023) / 1023.0
    FROM generate_series(0, 4 * :quarter - 1) AS n, generate_series(0, 5) AS sample
"""
_ESTIMATES = """
    INSERT INTO estimates (run_id, iteration, prompt, checkpoint, info, weight, key, sampled, first)
    SELECT :run, 1 + n / :quarter, n, 1 + n / :quarter, info, info, info, info > 0.75, false
    FROM generate_series(0, 3 * :quarter - 1) AS n,
        LATERAL (SELECT (hashint8extended(n, 5) & 1023) / 1023.0 AS info) AS drawn
"""
_BATCHES = """
    INSERT INTO batches (run_id, iteration, prompt, buffer, checkpoint, info, first)
    SELECT :run, n / :quarter, n, false, n / :quarter, (hashint8extended(n, 5) & 1023) / 1023.0, true
    FROM generate_series(0, 4 * :quarter - 1) AS n
"""
_PAIRS = """
    INSERT INTO pairs (run_id, iteration, prompt, chosen, rejected, checkpoint, chosen_reward, rejected_reward, margin)
    SELECT :run, n / :quarter, n, n % 6, (n + 1) % 6, n / :quarter, 0.9, 0.1, 0.8
    FROM generate_series(0, 4 * :quarter - 1) AS n
"""
_STEPS = """
    INSERT INTO training_steps (run_id, checkpoint, step, values)
    SELECT :run, checkpoint, step, jsonb_build_object('loss', 0.7 - step / 1e5, 'rewards/margins', step / 1e5)
    FROM generate_series(1, 4) AS checkpoint, generate_series(1, 4 * :quarter / 128 + 1) AS step
"""
_CHECKPOINTS = """
    INSERT INTO checkpoints (run_id, number, iteration, parent, path, digest)
    SELECT :run, n, greatest(n - 1, 0), CASE WHEN n > 0 THEN n - 1 END, '/nowhere/' || n, md5(n::text)
    FROM generate_series(0, 4) AS n
"""
_STAGES = """
    INSERT INTO stages (run_id, iteration, name, position, status, done, total, seconds, finished_at)
    SELECT :run, t, name, t * 10 + place, 'done', :quarter, :quarter, 60, now()
    FROM generate_series(0, 3) AS t,
        unnest(ARRAY['judge_batch', 'pair', 'train']) WITH ORDINALITY AS names (name, place)
"""
_TABLES = (_PROMPTS, _RESPONSES, _REWARDS, _ESTIMATES, _BATCHES, _PAIRS, _STEPS, _CHECKPOINTS, _STAGES)


@dataclass(frozen=True)
class Measured:
    """The milliseconds of one endpoint over the large run, and their median divided by the small run's."""

    endpoint: str
    p50_ms: float
    p99_ms: float
    small_p50_ms: float

    @property
    def ratio(self) -> float:
        return self.p50_ms / self.small_p50_ms


def fill(store: Store, name: str, prompts: int) -> str:
    """Creates a run with this many prompts, their responses and rewards. Returns its name."""
    config = load_config("playground", [f"iterations={ITERATIONS}"]).model_dump(mode="json")
    with store.transaction() as conn:
        run = create_run(conn, stem=name, config=config, config_hash="benchmark", seed=1)
        values = {"run": run.id, "quarter": prompts // 4, "words": WORDS, "operators": OPERATORS}
        for statement in _TABLES:
            conn.execute(text(statement), {name: value for name, value in values.items() if f":{name}" in statement})
        conn.execute(
            text("UPDATE runs SET prompt_count = :count, iteration = :t WHERE id = :run"),
            {"count": prompts, "t": ITERATIONS, "run": run.id},
        )
        set_status(conn, run.id, "finished")
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text("VACUUM ANALYZE"))
    return run.name


def filled(store: Store, name: str, prompts: int) -> str:
    """Returns the name of a run with this many prompts; creates it unless it already exists."""
    with store.transaction() as conn:
        found = conn.execute(
            text("SELECT name FROM runs WHERE name LIKE :stem AND prompt_count = :count"),
            {"stem": f"{name}-%", "count": prompts},
        ).scalar()
    return found or fill(store, name, prompts)


def endpoints(client: TestClient) -> list[str]:
    """Returns every path that can be read, from the service's OpenAPI document."""
    paths: dict[str, Any] = client.get("/v1/openapi.json").json()["paths"]
    return [path for path, methods in paths.items() if "get" in methods and not any(part in path for part in NOT_ASKED)]


def asked(path: str, run: str, other: str, prompts: int, draw: random.Random) -> tuple[str, dict[str, Any]]:
    """Returns one request of this kind, for random prompts."""
    filters: dict[str, Any] = {}
    if path.endswith("/prompts"):
        filters = draw.choice(
            [
                {},
                {"sort": "-info"},
                {"sort": "-depth"},
                {"sort": "-info", "iteration": 2},
                {"operator": "breadth", "limit": 100},
                {"sort": "-info", "operator": "breadth", "depth": 2},
                {"info_min": 0.9, "iteration": 3},
                {"info_min": 0.9},
                {"root": draw.randrange(prompts // 4)},
                {"words": "sort letters"},
                {"text": "sort it"},
            ]
        )
    if path in ("/v1/compare", "/v1/curves"):
        filters = {"run": [run, other]}
    numbers = ITERATIONS if "/checkpoints/" in path else prompts
    number = re.sub(r"\{number\}", str(draw.randrange(numbers)), path)
    return number.replace("{run}", run), filters


def times_ms(client: TestClient, path: str, run: str, other: str, prompts: int, asks: int) -> list[float]:
    """Returns how long each of these requests takes, in milliseconds. Raises SystemExit if one fails."""
    draw, found = random.Random(7), []
    for _ in range(asks + 2):
        url, params = asked(path, run, other, prompts, draw)
        began = time.perf_counter()
        answer = client.get(url, params=params)
        found.append(1000 * (time.perf_counter() - began))
        if answer.status_code not in (200, 404):
            raise SystemExit(f"{answer.url} returned {answer.status_code}: {answer.text[:300]}")
    return found[2:]


def measure(client: TestClient, small: str, large: str, prompts: int, asks: int) -> Iterator[Measured]:
    for path in endpoints(client):
        few = times_ms(client, path, small, large, SMALL, asks)
        many = times_ms(client, path, large, small, prompts, asks)
        yield Measured(path, float(np.median(many)), float(np.percentile(many, 99)), float(np.median(few)))


def storing(store: Store, run: int, prompts: int) -> tuple[float, float]:
    """Returns rows per second for storing responses and rewards in batches, and for one plain COPY of the same rows."""
    answers = [
        PromptResponses(
            number,
            "",
            tuple(
                Response(sample, f"{number} {sample} " + "and so on " * 12, "stop", 40, sample) for sample in range(N)
            ),
        )
        for number in range(min(prompts, STORED))
    ]
    rewarded = [RewardedResponses(one, tuple(Reward(sample / N) for sample in range(N))) for one in answers]
    began = time.perf_counter()
    for first in range(0, len(answers), 64):
        with store.transaction() as conn:
            copy_responses(conn, run, 99, answers[first : first + 64])
            copy_rewards(conn, run, 99, "benchmark", rewarded[first : first + 64])
    ours_s = time.perf_counter() - began
    rows = 2 * N * len(answers)
    return rows / ours_s, rows / _plain_copy_s(store)


def _plain_copy_s(store: Store) -> float:
    """Returns the seconds that COPY needs for the same rows and tables, and removes the rows again."""
    tables = {
        "responses": "run_id, prompt, checkpoint, sample, text, text_hash, finish, tokens, seed",
        "rewards": "run_id, prompt, checkpoint, sample, rewarder, value, reason",
    }
    where = "WHERE checkpoint = 99"
    with store.transaction() as conn:
        rows = {
            table: conn.execute(text(f"SELECT {names} FROM {table} {where}")).all()  # noqa: S608 - literals of this function
            for table, names in tables.items()
        }
    took_s = 0.0
    for copied in (False, True):
        with store.transaction() as conn, driver(conn).cursor() as cursor:
            for table in reversed(tables):
                conn.execute(text(f"DELETE FROM {table} {where}"))  # noqa: S608 - the same
            for table, names in tables.items() if not copied else ():
                began = time.perf_counter()
                with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:  # pyright: ignore[reportArgumentType, reportCallIssue] - the same
                    for row in rows[table]:
                        copy.write_row(row)
                took_s += time.perf_counter() - began
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1_000_000)
    parser.add_argument("--asks", type=int, default=40)
    parser.add_argument(
        "--folder", type=Path, help="folder in which the filled store is kept, to inspect it or to measure again"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings((options.folder or Path(folder)) / "data", None, None)
        store = open_store(settings)
        try:
            small, large = filled(store, "small", SMALL), filled(store, "large", options.prompts)
            with TestClient(create_app(Service(store, settings))) as client:
                found = [*measure(client, small, large, options.prompts, options.asks)]
            with store.transaction() as conn:
                run = int(conn.execute(text("SELECT id FROM runs WHERE name = :name"), {"name": large}).scalar_one())
            ours, plain = storing(store, run, options.prompts)
        finally:
            store.close()
    _show(found, ours, plain, options.prompts, as_json=options.json)


def _show(found: list[Measured], ours: float, plain: float, prompts: int, *, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps(
                {
                    "machine": machine(),
                    "prompts": prompts,
                    "rows_per_s": ours,
                    "plain_copy_rows_per_s": plain,
                    "endpoints": [asdict(one) | {"ratio": one.ratio} for one in found],
                }
            )
        )
        return
    print(f"reads over {prompts:,} prompts x {N} responses, against {SMALL:,} prompts\n  on {machine()}")
    print(f"  {'endpoint':<50} {'p50 ms':>8} {'p99 ms':>8} {'ratio of p50':>13}")
    for one in found:
        print(f"  {one.endpoint:<50} {one.p50_ms:8.1f} {one.p99_ms:8.1f} {one.ratio:13.2f}")
    print(f"  storing responses and rewards {ours:,.0f} rows/s: {ours / plain:.2f} of plain COPY, {plain:,.0f} rows/s")


if __name__ == "__main__":
    main()
