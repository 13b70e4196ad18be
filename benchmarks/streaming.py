"""Compares streaming rewarded responses into Postgres with one plain COPY of the same rows.

    python -m benchmarks.streaming [--json]

Streaming works as in a run: results arrive one by one and are flushed every 64. Each flush is one transaction, which
checks the lease, copies responses and rewards, advances the stage and reads the run's desired state. The plain way
copies prepared rows into the same tables, with two COPYs in one transaction. Each repeat writes to a run of its own, in
turns. It takes about a minute.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection

from benchmarks.measuring import Timings, parser, seconds, show
from eva.config import RunConfig
from eva.seeds import text_hash
from eva.settings import Settings
from eva.types import Checkpoint, PromptResponses, Response, Reward, RewardedResponses
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.hold.lease import Lease, claim
from orchestrator.launch.registration import register_run
from orchestrator.stages.judging import JudgeStage
from orchestrator.stages.stage import FLUSH_RESULTS
from orchestrator.watch.listener import NoListener
from store.game import checkpoints
from store.postgres.bulk import driver
from store.rows import RunRow
from store.session import Store, open_store

PROMPTS, N, WORDS, REPEATS, TARGET = 10_000, 6, 60, 3, 0.5
POLICY = Checkpoint(0, 0, "benchmark", "benchmark")
RESPONSES = "COPY responses (run_id, prompt, checkpoint, sample, text, text_hash, finish, tokens, seed) FROM STDIN"
REWARDS = "COPY rewards (run_id, prompt, checkpoint, sample, rewarder, value, reason) FROM STDIN"
Row = tuple[object, ...]


def results(prompts: int) -> list[RewardedResponses]:
    """Returns distinct responses of about 350 characters, each with a reward."""
    draw = random.Random(3)
    vocabulary = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(2000)]
    made: list[RewardedResponses] = []
    for number in range(prompts):
        texts = [" ".join(draw.choices(vocabulary, k=WORDS)) for _ in range(N)]
        responses = tuple(Response(sample, text, "stop", WORDS, sample) for sample, text in enumerate(texts))
        rewards = tuple(Reward(draw.random()) for _ in range(N))
        made.append(RewardedResponses(PromptResponses(number, f"prompt {number}", responses), rewards))
    return made


def start_run(store: Store, prompt_file: Path) -> RunRow:
    """Creates a run with its prompts and a checkpoint, as before its first stage."""
    run = register_run(
        store,
        RunConfig.model_validate(
            {
                "prompts": {"path": str(prompt_file)},
                "model": {"path": "playground"},
                "reward": {"kind": "mock"},
                "evolving": {"evolver": {"kind": "playground"}},
            }
        ),
    )
    with store.transaction() as conn:
        checkpoints.insert_checkpoint(conn, run.id, POLICY)
    return run


def stream(store: Store, run: RunRow, lease: Lease, rewarded: Sequence[RewardedResponses]) -> float:
    """Returns the seconds for storing results as the loop's judge does, if engine and rewarder take no time."""
    config = RunConfig.model_validate(run.config)
    claimed = ClaimedRun(run.id, run.name, config, Path(), run.stored_name, "mock", store, lease, NoListener())
    numbers = [row.prompt.number for row in rewarded]
    with JudgeStage(claimed, 0, "judge_pool", numbers, POLICY) as stage:
        stage.missing()
        return seconds(lambda: keep(stage, rewarded))


def keep(stage: JudgeStage, rewarded: Sequence[RewardedResponses]) -> None:
    generated = stage.keep_responses(row.prompt for row in rewarded)
    for _, prompt in zip(generated, rewarded, strict=True):
        stage.keep_rewards(prompt)
    stage.close()


def rows(run_id: int, rewarded: Sequence[RewardedResponses]) -> tuple[list[Row], list[Row]]:
    """Returns the rows of both tables, ready to copy."""
    pairs = [
        (one.prompt.number, response, reward)
        for one in rewarded
        for response, reward in zip(one.prompt.responses, one.rewards, strict=True)
    ]
    return (
        [
            (
                run_id,
                number,
                0,
                response.sample,
                response.text,
                text_hash(response.text),
                response.finish,
                response.tokens,
                response.seed,
            )
            for number, response, _ in pairs
        ],
        [
            (run_id, number, 0, response.sample, "mock", reward.value, reward.reason)
            for number, response, reward in pairs
        ],
    )


def plain(store: Store, responses: Sequence[Row], rewards: Sequence[Row]) -> None:
    with store.transaction() as conn:
        _copy(conn, RESPONSES, responses)
        _copy(conn, REWARDS, rewards)


def _copy(conn: Connection, statement: str, ready: Sequence[Row]) -> None:
    with driver(conn).cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for row in ready:
            copy.write_row(row)


def repeat(store: Store, prompt_file: Path, rewarded: Sequence[RewardedResponses]) -> tuple[float, float]:
    """Returns the seconds for streaming and for the plain way."""
    streamed, copied = start_run(store, prompt_file), start_run(store, prompt_file)
    with claim(store, streamed) as lease:
        ours = stream(store, streamed, lease, rewarded)
    ready = rows(copied.id, rewarded)
    return ours, seconds(lambda: plain(store, *ready))


def compare(prompts: int = PROMPTS, repeats: int = REPEATS) -> Timings:
    """Runs both ways in turns, on an embedded server of their own."""
    folder = Path(tempfile.mkdtemp(prefix="eva-bench-"))
    folder.chmod(0o755)  # root's server runs as another user
    rewarded = results(prompts)
    prompt_file = folder / "prompts.jsonl"
    prompt_file.write_text("".join(json.dumps({"prompt": one.prompt.text}) + "\n" for one in rewarded))
    store = open_store(Settings(folder, None, None))
    try:
        repeat(store, prompt_file, rewarded[:100])
        times = [repeat(store, prompt_file, rewarded) for _ in range(repeats)]
    finally:
        store.close()
        shutil.rmtree(folder)
    ours, theirs = zip(*times, strict=True)
    what = f"copy: {prompts:,} prompts x {N} rewarded responses of {WORDS} words, flushed every {FLUSH_RESULTS} prompts"
    return Timings(what, "streaming", "plain", ours, theirs, TARGET)


if __name__ == "__main__":
    asked = parser(__doc__).parse_args()
    show(compare(), as_json=asked.json)
