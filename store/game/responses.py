"""Queries about responses and rewards: what is there, what is missing, and all of it as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from sqlalchemy import Connection, and_, func, select

from eva.seeds import text_hash
from eva.types import Ints, PromptResponses, Response, RewardedResponses, RewardTable
from store.game.contexts import is_root, read_context, roots
from store.postgres.bulk import Row, copy_once, read_array
from store.postgres.values import storable, told, value_or_reason
from store.rows import Coverage
from store.schema.tables import prompts, quarantines, responses, rewards

_RESPONSES = ("run_id", "prompt", "checkpoint", "sample", "text", "text_hash", "finish", "tokens", "seed")
_REWARDS = ("run_id", "prompt", "checkpoint", "sample", "rewarder", "value", "reason")
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


def copy_answered(conn: Connection, run_id: int, checkpoint: int, answered: Sequence[PromptResponses]) -> None:
    """Store responses, and the failures as quarantines; what is there already stays as it is.

    NUL characters and lone surrogates become U+FFFD.
    """
    rows: list[Row] = []
    for one in answered:
        for response in one.responses:
            text = storable(response.text)
            rows.append(
                (
                    run_id,
                    one.number,
                    checkpoint,
                    response.sample,
                    text,
                    text_hash(text),
                    response.finish,
                    response.tokens,
                    response.seed,
                )
            )
    copy_once(conn, responses, _RESPONSES, rows)
    failed: list[Row] = [
        (run_id, one.number, checkpoint, told(one.failure)) for one in answered if one.failure is not None
    ]
    copy_once(conn, quarantines, _QUARANTINES, failed)


def copy_rewarded(
    conn: Connection, run_id: int, checkpoint: int, rewarder: str, rewarded: Sequence[RewardedResponses]
) -> None:
    """Store rewards of stored responses; what is there already stays as it is.

    A reward that is NaN or infinite is stored as none, with that reason. What a reward was made from is stored as
    `rewarder/part`.
    """
    rows: list[Row] = []
    for one in rewarded:
        for response, reward in zip(one.answered.responses, one.rewards, strict=True):
            for name, each in ((rewarder, reward), *((f"{rewarder}/{name}", part) for name, part in reward.parts)):
                value, reason = value_or_reason(each)
                rows.append((run_id, one.answered.number, checkpoint, response.sample, name, value, reason))
    copy_once(conn, rewards, _REWARDS, rows)


def coverage(
    conn: Connection, run_id: int, checkpoint: int, rewarder: str, numbers: Sequence[int] | Ints, n: int
) -> Coverage:
    """What is still to generate and to reward, so that each prompt has n responses with rewards?

    Quarantined prompts are left out.
    """
    numbers_P = np.asarray(numbers, dtype=np.int64)
    wanted = [rewarder, run_id, checkpoint, numbers_P.tolist(), n]
    found = read_array(conn, _COVERED, wanted, _COVERED_FIELDS)
    present = dict(zip(found["prompt"].tolist(), found["responses"].tolist(), strict=True))
    unrewarded = found["prompt"][(found["responses"] >= n) & (found["rewards"] < n)]
    lacking = set(unrewarded.tolist())
    failed = failures(conn, run_id, checkpoint)
    return Coverage(
        to_generate={
            number: present.get(number, 0)
            for number in numbers_P.tolist()
            if present.get(number, 0) < n and number not in failed
        },
        to_reward=[number for number in numbers_P.tolist() if number in lacking],
    )


def failures(conn: Connection, run_id: int, checkpoint: int) -> dict[int, str]:
    """Which prompts could this policy not answer, and why?"""
    query = select(quarantines.c.prompt, quarantines.c.reason).where(
        quarantines.c.run_id == run_id, quarantines.c.checkpoint == checkpoint
    )
    return {row.prompt: row.reason for row in conn.execute(query)}


def read_answered(conn: Connection, run_id: int, checkpoint: int, numbers: Sequence[int]) -> list[PromptResponses]:
    """What did this policy answer to these prompts? In number order; those without answers are left out."""
    query = (
        select(
            prompts.c.number,
            prompts.c.text.label("prompt_text"),
            roots.c.context,
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
    grouped = groupby(conn.execute(query), key=lambda row: (row.number, row.prompt_text, row.context))
    return [
        PromptResponses(
            number,
            text,
            tuple(Response(r.sample, r.text, r.finish, r.tokens, r.seed) for r in rows),
            context=read_context(context),
        )
        for (number, text, context), rows in grouped
    ]


def judged(
    conn: Connection, run_id: int, checkpoint: int, rewarder: str, numbers: Sequence[int] | Ints, n: int
) -> RewardTable:
    """How did this policy do on these prompts? Arrays in the order of `numbers`, which are distinct."""
    numbers_P = np.asarray(numbers, dtype=np.int64)
    wanted = [rewarder, run_id, checkpoint, numbers_P.tolist(), n]
    found = read_array(conn, _JUDGED, wanted, _JUDGED_FIELDS)
    order = np.argsort(numbers_P)
    row = order[np.searchsorted(numbers_P, found["prompt"], sorter=order)]
    # by columns: every reduction over a prompt's few responses reads whole columns
    shape = (numbers_P.size, n)
    rewards_P_N = np.full(shape, np.nan, order="F")
    hashes_P_N = np.zeros(shape, dtype=np.int64, order="F")
    cut_P_N = np.zeros(shape, dtype=np.bool_, order="F")
    tokens_P_N = np.zeros(shape, dtype=np.int64, order="F")
    place = (row, found["sample"])
    rewards_P_N[place], hashes_P_N[place], cut_P_N[place] = found["value"], found["hash"], found["cut"]
    tokens_P_N[place] = found["tokens"]
    asked = set(numbers_P.tolist())
    failed = {number: why for number, why in failures(conn, run_id, checkpoint).items() if number in asked}
    return RewardTable(numbers_P, rewards_P_N, hashes_P_N, cut_P_N, failed, tokens_P_N=tokens_P_N)


def newest_checkpoints(
    conn: Connection, run_id: int, rewarder: str, numbers: Sequence[int] | Ints, n: int
) -> dict[int, int]:
    """From which newest policy does each prompt have n rewarded responses? Those without are left out."""
    asked = np.asarray(numbers, dtype=np.int64).tolist()
    fields = [("prompt", ">i4"), ("checkpoint", ">i2")]
    found = read_array(conn, _NEWEST, [run_id, rewarder, asked, n, n], fields)
    return dict(zip(found["prompt"].tolist(), found["checkpoint"].tolist(), strict=True))


def sampling_cost(conn: Connection, run_id: int, checkpoint: int, numbers: Sequence[int] | Ints) -> dict[str, int]:
    """What did it cost this policy to answer these prompts? Responses, and their tokens."""
    asked = np.asarray(numbers, dtype=np.int64).tolist()
    query = select(func.count(), func.coalesce(func.sum(responses.c.tokens), 0)).where(
        responses.c.run_id == run_id,
        responses.c.checkpoint == checkpoint,
        responses.c.prompt == func.any(asked),
    )
    count, tokens = conn.execute(query).one()
    return {"responses": int(count), "tokens": int(tokens)}
