"""Exports: queries that stream a whole run, and the columns that they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, TextClause, text

from eva.errors import NotFoundError
from eva.evaluation.turns import with_responses
from eva.prompts.conversations import as_messages, as_rows
from eva.runtime.atomic_files import write_rows
from eva.solver.token_record import RecordManifest, TokenRecord, read_record_file
from eva.types import Context, Message
from store.game.contexts import has_contexts, read_context
from store.postgres.planner import keep_join_order
from store.runs.runs import get_run
from store.runs.token_files import read_token_files

PAGE = 1000
MESSAGES = "messages"
"""The column of prompts and responses that holds a conversation, its last user turn included."""

_PAIRS = text("""
    SELECT p.text AS prompt, c.text AS chosen, j.text AS rejected, x.chosen_reward, x.rejected_reward,
        x.margin, x.iteration, x.prompt AS number, x.checkpoint, root.context
    FROM pairs x
    JOIN prompts p ON p.run_id = x.run_id AND p.number = x.prompt
    JOIN prompts root ON root.run_id = p.run_id AND root.number = p.root
    JOIN responses c ON c.run_id = x.run_id AND c.prompt = x.prompt AND c.checkpoint = x.checkpoint
        AND c.sample = x.chosen
    JOIN responses j ON j.run_id = x.run_id AND j.prompt = x.prompt AND j.checkpoint = x.checkpoint
        AND j.sample = x.rejected
    WHERE x.run_id = :run_id
    ORDER BY x.iteration, x.prompt, x.chosen, x.rejected
""")

_PROMPTS = text("""
    SELECT p.number, p.text AS prompt, p.parent, p.root, p.operator, p.depth, p.born, p.topic, p.reference, c.category,
        root.context
    FROM prompts p
    JOIN prompts root ON root.run_id = p.run_id AND root.number = p.root
    LEFT JOIN prompt_categories c ON c.run_id = p.run_id AND c.prompt = p.number
    WHERE p.run_id = :run_id ORDER BY p.number
""")

_RESPONSES = text("""
    SELECT r.prompt AS number, p.text AS prompt, r.checkpoint, r.sample, r.text AS response, r.finish,
        r.tokens, r.seed, w.rewarder, w.value AS reward, w.reason, w.answer, p.reference, root.context
    FROM responses r
    JOIN prompts p ON p.run_id = r.run_id AND p.number = r.prompt
    JOIN prompts root ON root.run_id = p.run_id AND root.number = p.root
    LEFT JOIN rewards w ON w.run_id = r.run_id AND w.prompt = r.prompt AND w.checkpoint = r.checkpoint
        AND w.sample = r.sample
    WHERE r.run_id = :run_id
    ORDER BY r.prompt, r.checkpoint, r.sample, w.rewarder
""")


# A prompt in the pool or the batch of an iteration, with the responses of the policy that was judged there. Of the
# rewards, the whole one and not its parts, whose names are longer.
_JUDGED = text("""
    SELECT j.number, p.text AS prompt, j.iteration, j.part, j.checkpoint, j.info, j.reason, j.weight, j.key, j.sampled,
        j.buffer, answered.responses, answered.rewards, p.reference, root.context
    FROM (
        SELECT prompt AS number, iteration, 'pool' AS part, checkpoint, info, reason, weight, key, sampled,
            NULL::boolean AS buffer
        FROM estimates WHERE run_id = :run_id
        UNION ALL
        SELECT prompt, iteration, 'batch', checkpoint, info, reason, NULL, NULL, NULL, buffer
        FROM batches WHERE run_id = :run_id
    ) AS j
    JOIN prompts p ON p.run_id = :run_id AND p.number = j.number
    JOIN prompts root ON root.run_id = p.run_id AND root.number = p.root
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(r.text ORDER BY r.sample), '{}') AS responses,
            coalesce(array_agg(w.value ORDER BY r.sample), '{}') AS rewards
        FROM responses r
        LEFT JOIN LATERAL (
            SELECT value FROM rewards
            WHERE run_id = r.run_id AND prompt = r.prompt AND checkpoint = r.checkpoint AND sample = r.sample
            ORDER BY length(rewarder), rewarder LIMIT 1
        ) AS w ON true
        WHERE r.run_id = :run_id AND r.prompt = j.number AND r.checkpoint = j.checkpoint
    ) AS answered
    ORDER BY j.iteration, j.part DESC, j.number
""")

# Texts and rewards of recorded responses: of the rewards, the whole one, as above.
_RECORDED = text("""
    SELECT r.prompt, r.checkpoint, r.sample, p.text AS prompt_text, r.text, r.finish, w.value AS reward, root.context
    FROM responses r
    JOIN prompts p ON p.run_id = r.run_id AND p.number = r.prompt
    JOIN prompts root ON root.run_id = p.run_id AND root.number = p.root
    LEFT JOIN LATERAL (
        SELECT value FROM rewards
        WHERE run_id = r.run_id AND prompt = r.prompt AND checkpoint = r.checkpoint AND sample = r.sample
        ORDER BY length(rewarder), rewarder LIMIT 1
    ) AS w ON true
    WHERE r.run_id = :run_id AND r.prompt = ANY(:numbers) AND r.checkpoint = ANY(:policies)
""")

# `earlier`: what the policy responded to the earlier turns of the same conversation.
_HELDOUT = text("""
    WITH RECURSIVE turns AS (
        SELECT DISTINCT split, follows FROM heldout_prompts WHERE run_id = :run_id AND follows IS NOT NULL
    ), before AS (
        SELECT split, follows AS earlier, 1 AS back FROM turns
        UNION ALL
        SELECT before.split, turns.follows, before.back + 1 FROM before JOIN turns ON turns.split = before.earlier
    )
    SELECT r.split, r.item, p.text AS prompt, r.checkpoint, r.mode, r.sample, r.text AS response, r.finish, r.tokens,
        r.reward, r.reason, p.reference, p.context, ARRAY(
            SELECT said.text FROM before JOIN heldout_responses said ON said.run_id = r.run_id
                AND said.checkpoint = r.checkpoint AND said.split = before.earlier AND said.mode = r.mode
                AND said.item = r.item AND said.sample = r.sample
            WHERE before.split = r.split ORDER BY before.back DESC
        ) AS earlier
    FROM heldout_responses r
    JOIN heldout_prompts p ON p.run_id = r.run_id AND p.split = r.split AND p.item = r.item
    WHERE r.run_id = :run_id
    ORDER BY r.split, r.item, r.checkpoint, r.mode, r.sample
""")

_HELDOUT_CONTEXTS = text("""
    SELECT EXISTS (SELECT FROM heldout_prompts WHERE run_id = :run_id AND context IS NOT NULL)
""")

_MODEL = text("SELECT config -> 'model' FROM runs WHERE id = :run_id")

_COUNTS = text("""
    SELECT
        (SELECT count(*) FROM prompts WHERE run_id = :run_id AND born = -1) AS seeds,
        (SELECT prompt_count FROM runs WHERE id = :run_id) AS prompts,
        (SELECT count(*) FROM pairs WHERE run_id = :run_id) AS pairs,
        (SELECT count(*) FROM responses WHERE run_id = :run_id) AS responses,
        (SELECT count(*) FROM estimates WHERE run_id = :run_id)
            + (SELECT count(*) FROM batches WHERE run_id = :run_id) AS judged,
        (SELECT count(*) FROM heldout_responses WHERE run_id = :run_id) AS heldout
""")


def iter_pairs(conn: Connection, run_id: int) -> Iterator[dict[str, Any]]:
    """Streams the preference pairs with texts, by iteration and prompt, as the run has trained on them.

    They are messages, with the config's system prompt, where the model's template is `chat`: TRL renders the same text.
    """
    has_messages, system_prompt = _rendering(conn, run_id)
    keep_join_order(conn)
    for row, context in _stream(conn, _PAIRS, run_id):
        if has_messages:
            row["prompt"] = as_messages(row["prompt"], context, system_prompt)
            row |= {side: as_rows([Message("assistant", row[side])]) for side in ("chosen", "rejected")}
        yield row


def iter_prompts(conn: Connection, run_id: int) -> Iterator[dict[str, Any]]:
    """Streams the prompts with their lineage, by number; with messages if the run has conversations."""
    return _with_messages(conn, _PROMPTS, run_id, has_messages=has_contexts(conn, run_id))


def iter_responses(conn: Connection, run_id: int) -> Iterator[dict[str, Any]]:
    """Streams the responses with prompt and reward, by prompt, checkpoint and sample; a row per rewarder."""
    return _with_messages(conn, _RESPONSES, run_id, has_messages=has_contexts(conn, run_id))


def iter_judged(conn: Connection, run_id: int) -> Iterator[dict[str, Any]]:
    """Streams the prompts of each pool and batch with their info, and the responses and rewards that it comes from."""
    return _with_messages(conn, _JUDGED, run_id, has_messages=has_contexts(conn, run_id))


def iter_heldout(conn: Connection, run_id: int) -> Iterator[dict[str, Any]]:
    """Streams what each policy responded to the held-out prompts, with rewards, by set, prompt and policy."""
    has_messages = _has_heldout_contexts(conn, run_id)
    for row, context in _stream(conn, _HELDOUT, run_id):
        context = with_responses(context, row.pop("earlier"))
        yield row | {MESSAGES: as_messages(row["prompt"], context)} if has_messages else row


def iter_rollouts(conn: Connection, run_id: int, runs_dir: Path) -> Iterator[dict[str, Any]]:
    """Streams the responses whose tokens were recorded and are still kept, in the order in which they were stored.

    Raises NotFoundError if there is none, TokenRecordError if a file of the run's folder is missing or damaged.
    """
    run, has_messages = get_run(conn, run_id), has_contexts(conn, run_id)
    files = read_token_files(conn, run_id)
    kept = RecordManifest(run.name, runs_dir / run.folder_name, tuple(file for file in files if not file.pruned))
    if not kept.files:
        raise NotFoundError(
            f"run {run.name} has no token records"
            + (": they were deleted when their iterations were finished" if files else ""),
            expected="a run with rollouts.keep: all, or a number of iterations",
            next_move="Set it when you resume the run, or in a fork of it",
        )
    for file in kept.files:
        records = [*read_record_file(kept, file)]
        texts = _recorded_texts(conn, run_id, records)
        for record in records:
            text_row, context = texts[record.number, record.policy, record.sample]
            row: dict[str, Any] = {
                "iteration": file.iteration,
                "number": record.number,
                "sample": record.sample,
                "policy": record.policy,
                "step": record.step,
                **text_row,
                "prompt_ids": record.prompt_ids,
                "token_ids": record.token_ids,
                "logprobs": record.logprobs,
            }
            yield row | {MESSAGES: as_messages(row["prompt"], context)} if has_messages else row


def _recorded_texts(
    conn: Connection, run_id: int, records: list[TokenRecord]
) -> dict[tuple[int, int, int], tuple[dict[str, Any], Context]]:
    """The columns of recorded responses that the database holds, and the contexts, by prompt, policy and sample."""
    numbers, policies = {record.number for record in records}, {record.policy for record in records}
    rows = conn.execute(_RECORDED, {"run_id": run_id, "numbers": [*numbers], "policies": [*policies]})
    return {
        (row.prompt, row.checkpoint, row.sample): (
            {"prompt": row.prompt_text, "response": row.text, "finish": row.finish, "reward": row.reward},
            read_context(row.context),
        )
        for row in rows
    }


def message_columns(conn: Connection, run_id: int, name: str) -> tuple[str, ...]:
    """Returns the columns of an export that hold messages.

    Those of pairs do where the model's template is `chat`; other exports have one if a prompt continues a conversation.
    """
    if name == "pairs":
        return ("prompt", "chosen", "rejected") if _rendering(conn, run_id)[0] else ()
    if name == "heldout":
        return (MESSAGES,) if _has_heldout_contexts(conn, run_id) else ()
    return (MESSAGES,) if has_contexts(conn, run_id) else ()


EXPORTS: dict[str, Callable[[Connection, int], Iterator[dict[str, Any]]]] = {
    "pairs": iter_pairs,
    "prompts": iter_prompts,
    "responses": iter_responses,
    "judged": iter_judged,
    "heldout": iter_heldout,
}
"""The exports of what the database holds, by name."""

ROLLOUTS = "rollouts"
"""The export of what the files of the token records hold."""

KINDS = (*EXPORTS, ROLLOUTS)
"""The names of all exports."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "pairs": (
        "prompt",
        "chosen",
        "rejected",
        "chosen_reward",
        "rejected_reward",
        "margin",
        "iteration",
        "number",
        "checkpoint",
    ),
    "prompts": ("number", "prompt", "parent", "root", "operator", "depth", "born", "topic", "reference", "category"),
    "responses": (
        "number",
        "prompt",
        "checkpoint",
        "sample",
        "response",
        "finish",
        "tokens",
        "seed",
        "rewarder",
        "reward",
        "reason",
        "answer",
        "reference",
    ),
    "judged": (
        "number",
        "prompt",
        "iteration",
        "part",
        "checkpoint",
        "info",
        "reason",
        "weight",
        "key",
        "sampled",
        "buffer",
        "responses",
        "rewards",
        "reference",
    ),
    ROLLOUTS: (
        "iteration",
        "number",
        "sample",
        "policy",
        "step",
        "prompt",
        "response",
        "finish",
        "reward",
        "prompt_ids",
        "token_ids",
        "logprobs",
    ),
    "heldout": (
        "split",
        "item",
        "prompt",
        "checkpoint",
        "mode",
        "sample",
        "response",
        "finish",
        "tokens",
        "reward",
        "reason",
        "reference",
    ),
}
"""The columns of each export, in order. Runs with conversations add MESSAGES to all but pairs."""


def write_export(
    conn: Connection,
    run_id: int,
    name: str,
    form: str,
    file: IO[bytes],
    on_row: Callable[[], object] = lambda: None,
    *,
    runs_dir: Path,
) -> int:
    """Writes one of KINDS in one of FORMATS and returns its number of rows. `on_row` is called for each row, and may
    raise to stop. `runs_dir` is the folder of all runs. Raises as `iter_rollouts` does.
    """
    messages = message_columns(conn, run_id, name)
    columns = tuple(dict.fromkeys((*COLUMNS[name], *messages)))

    def rows() -> Iterator[dict[str, Any]]:
        for row in iter_rollouts(conn, run_id, runs_dir) if name == ROLLOUTS else EXPORTS[name](conn, run_id):
            on_row()
            yield row

    return write_rows(form, rows(), file, columns, messages)


def count_rows(conn: Connection, run_id: int) -> dict[str, int]:
    """Counts a run's seed prompts and the rows of its exports."""
    return {name: int(count) for name, count in conn.execute(_COUNTS, {"run_id": run_id}).mappings().one().items()}


def _rendering(conn: Connection, run_id: int) -> tuple[bool, str | None]:
    """Returns whether the run renders prompts as messages, and the system prompt that it puts before them."""
    model: dict[str, Any] = conn.execute(_MODEL, {"run_id": run_id}).scalar_one() or {}
    chat = model.get("template", "chat") == "chat"
    return chat or has_contexts(conn, run_id), model.get("system_prompt") if chat else None


def _has_heldout_contexts(conn: Connection, run_id: int) -> bool:
    return bool(conn.execute(_HELDOUT_CONTEXTS, {"run_id": run_id}).scalar_one())


def _with_messages(conn: Connection, query: TextClause, run_id: int, *, has_messages: bool) -> Iterator[dict[str, Any]]:
    for row, context in _stream(conn, query, run_id):
        yield row | {MESSAGES: as_messages(row["prompt"], context)} if has_messages else row


def _stream(conn: Connection, query: TextClause, run_id: int) -> Iterator[tuple[dict[str, Any], Context]]:
    """Streams rows, each with its prompt's context, through a server-side cursor with one page in memory.

    Read the stream inside the transaction.
    """
    with conn.execute(query, {"run_id": run_id}, execution_options={"yield_per": PAGE}) as rows:
        for row in rows.mappings():
            values = dict(row)
            context = read_context(values.pop("context"))
            yield values, context
