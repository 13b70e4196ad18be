"""Queries about responses and rewards: storing them, finding those that are missing, and reading them as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from sqlalchemy import Connection, and_, func, select

from eva.seeds import text_hash
from eva.types import Ints, PromptResponses, Response, RewardedResponses, RewardTable
from store.game.contexts import is_root, read_context, roots
from store.postgres.bulk import Row, copy_once, read_array
from store.postgres.values import clean_text, clean_text_or_none, redacted_text, value_or_reason
from store.rows import ResponseCoverage
from store.schema.tables import prompts, quarantines, responses, rewards

_RESPONSES = ("run_id", "prompt", "checkpoint", "sample", "text", "text_hash", "finish", "tokens", "seed", "step")
_REWARDS = ("run_id", "prompt", "checkpoint", "sample", "rewarder", "value", "reason", "answer")
_QUARANTINES = ("run_id", "prompt", "checkpoint", "reason")

_JUDGED = """
    SELECT r.prompt, r.sample, r.text_hash, r.finish = 'length', coalesce(w.value, 'NaN'), r.tokens
    FROM responses r
    LEFT JOIN rewards w ON w.run_id = r.run_id AND w.prompt = r.prompt AND w.checkpoint = r.checkpoint
        AND w.sample = r.sample AND w.rewarder = %s
    WHERE r.run_id = %s AND r.checkpoint = %s AND r.prompt = ANY(%s) AND r.sample < %s
"""
_JUDGED_FIELDS = [
    ("prompt", ">i4"),
    ("sample", ">i2"),
    ("hash", ">i8"),
    ("cut", "?"),
    ("value", ">f8"),
    ("tokens", ">i4"),
]

_COVERED = """
    SELECT r.prompt, count(*), count(w.sample)
    FROM responses r
    LEFT JOIN rewards w ON w.run_id = r.run_id AND w.prompt = r.prompt AND w.checkpoint = r.checkpoint
        AND w.sample = r.sample AND w.rewarder = %s
    WHERE r.run_id = %s AND r.checkpoint = %s AND r.prompt = ANY(%s) AND r.sample < %s
    GROUP BY r.prompt
"""
_COVERED_FIELDS = [("prompt", ">i4"), ("responses", ">i8"), ("rewards", ">i8")]

_NEWEST = """
    SELECT prompt, max(checkpoint)
    FROM (
        SELECT prompt, checkpoint FROM rewards
        WHERE run_id = %s AND rewarder = %s AND prompt = ANY(%s) AND sample < %s
        GROUP BY prompt, checkpoint HAVING count(*) = %s
    ) AS complete
    GROUP BY prompt
"""


def copy_responses(
    conn: Connection, run_id: int, checkpoint: int, generated: Sequence[PromptResponses], step: int = 0
) -> None:
    """Stores responses, and failures as quarantines. Rows that exist already stay as they are.

    `step`: of the policy inside an iteration that sampled them; 0 is the checkpoint itself. NUL characters and lone
    surrogates become U+FFFD.
    """
    rows: list[Row] = []
    for prompt in generated:
        for response in prompt.responses:
            text = clean_text(response.text)
            rows.append(
                (
                    run_id,
                    prompt.number,
                    checkpoint,
                    response.sample,
                    text,
                    text_hash(text),
                    response.finish,
                    response.tokens,
                    response.seed,
                    step,
                )
            )
    copy_once(conn, responses, _RESPONSES, rows)
    failed: list[Row] = [
        (run_id, prompt.number, checkpoint, redacted_text(prompt.failure))
        for prompt in generated
        if prompt.failure is not None
    ]
    copy_once(conn, quarantines, _QUARANTINES, failed)


def copy_rewards(
    conn: Connection, run_id: int, checkpoint: int, rewarder: str, rewarded: Sequence[RewardedResponses]
) -> None:
    """Stores rewards of stored responses. Rows that exist already stay as they are.

    A reward that is NaN or infinite is stored as no reward, with that reason. The parts of a reward are stored as
    `rewarder/part`.
    """
    rows: list[Row] = []
    for prompt, prompt_rewards in ((row.prompt, row.rewards) for row in rewarded):
        for response, reward in zip(prompt.responses, prompt_rewards, strict=True):
            for name, each in ((rewarder, reward), *((f"{rewarder}/{name}", part) for name, part in reward.parts)):
                value, reason = value_or_reason(each)
                answer = clean_text_or_none(each.answer)
                rows.append((run_id, prompt.number, checkpoint, response.sample, name, value, reason, answer))
    copy_once(conn, rewards, _REWARDS, rows)


def coverage(
    conn: Connection, run_id: int, checkpoint: int, rewarder: str, numbers: Sequence[int] | Ints, n: int
) -> ResponseCoverage:
    """Returns what is missing until each prompt has n responses with rewards. Quarantined prompts are left out."""
    numbers_P = np.asarray(numbers, dtype=np.int64)
    values = [rewarder, run_id, checkpoint, numbers_P.tolist(), n]
    rows = read_array(conn, _COVERED, values, _COVERED_FIELDS)
    counts = dict(zip(rows["prompt"].tolist(), rows["responses"].tolist(), strict=True))
    unrewarded = rows["prompt"][(rows["responses"] >= n) & (rows["rewards"] < n)]
    lacking = set(unrewarded.tolist())
    failed = read_failures(conn, run_id, checkpoint)
    return ResponseCoverage(
        to_generate={
            number: counts.get(number, 0)
            for number in numbers_P.tolist()
            if counts.get(number, 0) < n and number not in failed
        },
        to_reward=[number for number in numbers_P.tolist() if number in lacking],
    )


def read_failures(conn: Connection, run_id: int, checkpoint: int) -> dict[int, str]:
    """Returns by number why this policy could not respond to a prompt, for the prompts that it failed on."""
    query = select(quarantines.c.prompt, quarantines.c.reason).where(
        quarantines.c.run_id == run_id, quarantines.c.checkpoint == checkpoint
    )
    return {row.prompt: row.reason for row in conn.execute(query)}


def read_responses(conn: Connection, run_id: int, checkpoint: int, numbers: Sequence[int]) -> list[PromptResponses]:
    """Returns this policy's responses to these prompts, in number order. Prompts without responses are left out."""
    query = (
        select(
            prompts.c.number,
            prompts.c.text.label("prompt_text"),
            roots.c.context,
            prompts.c.reference,
            responses.c.sample,
            responses.c.text,
            responses.c.finish,
            responses.c.tokens,
            responses.c.seed,
        )
        .join(responses, and_(responses.c.run_id == prompts.c.run_id, responses.c.prompt == prompts.c.number))
        .join(roots, is_root)
        .where(
            prompts.c.run_id == run_id,
            responses.c.checkpoint == checkpoint,
            prompts.c.number == func.any(list(numbers)),
        )
        .order_by(prompts.c.number, responses.c.sample)
    )
    grouped = groupby(conn.execute(query), key=lambda row: (row.number, row.prompt_text, row.context, row.reference))
    return [
        PromptResponses(
            number,
            text,
            tuple(Response(r.sample, r.text, r.finish, r.tokens, r.seed) for r in rows),
            context=read_context(context),
            reference=reference,
        )
        for (number, text, context, reference), rows in grouped
    ]


def read_reward_table(
    conn: Connection, run_id: int, checkpoint: int, rewarder: str, numbers: Sequence[int] | Ints, n: int
) -> RewardTable:
    """Returns this policy's rewards on these prompts as arrays, in the order of `numbers`, which are distinct."""
    numbers_P = np.asarray(numbers, dtype=np.int64)
    values = [rewarder, run_id, checkpoint, numbers_P.tolist(), n]
    rows = read_array(conn, _JUDGED, values, _JUDGED_FIELDS)
    order = np.argsort(numbers_P)
    row = order[np.searchsorted(numbers_P, rows["prompt"], sorter=order)]
    # column order: every reduction over a prompt's few responses reads whole columns
    shape = (numbers_P.size, n)
    rewards_P_N = np.full(shape, np.nan, order="F")
    hashes_P_N = np.zeros(shape, dtype=np.int64, order="F")
    cut_P_N = np.zeros(shape, dtype=np.bool_, order="F")
    tokens_P_N = np.zeros(shape, dtype=np.int64, order="F")
    cells = (row, rows["sample"])
    rewards_P_N[cells], hashes_P_N[cells], cut_P_N[cells] = rows["value"], rows["hash"], rows["cut"]
    tokens_P_N[cells] = rows["tokens"]
    wanted = set(numbers_P.tolist())
    failed = {number: why for number, why in read_failures(conn, run_id, checkpoint).items() if number in wanted}
    return RewardTable(numbers_P, rewards_P_N, hashes_P_N, cut_P_N, failed, tokens_P_N=tokens_P_N)


def newest_checkpoints(
    conn: Connection, run_id: int, rewarder: str, numbers: Sequence[int] | Ints, n: int
) -> dict[int, int]:
    """Returns by prompt the newest policy with n rewarded responses to it. Prompts without one are left out."""
    wanted = np.asarray(numbers, dtype=np.int64).tolist()
    fields = [("prompt", ">i4"), ("checkpoint", ">i2")]
    rows = read_array(conn, _NEWEST, [run_id, rewarder, wanted, n, n], fields)
    return dict(zip(rows["prompt"].tolist(), rows["checkpoint"].tolist(), strict=True))


def sampling_cost(conn: Connection, run_id: int, checkpoint: int, numbers: Sequence[int] | Ints) -> dict[str, int]:
    """Counts this policy's responses to these prompts, and their tokens."""
    wanted = np.asarray(numbers, dtype=np.int64).tolist()
    query = select(func.count(), func.coalesce(func.sum(responses.c.tokens), 0)).where(
        responses.c.run_id == run_id,
        responses.c.checkpoint == checkpoint,
        responses.c.prompt == func.any(wanted),
    )
    count, tokens = conn.execute(query).one()
    return {"responses": int(count), "tokens": int(tokens)}
