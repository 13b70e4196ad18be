"""The tables. Migrations create them; a test checks that both agree.

Almost every key starts with `run_id`. Tables that refer to prompts refer to runs only through them, so a row of a
bulk write pays for one foreign key, not two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

from store.schema.columns import (
    EMPTY,
    NOW,
    ZERO,
    Time,
    key,
    of_player,
    of_prompt,
    of_response,
    of_run,
    player,
    run_id,
    table,
)
from store.schema.columns import metadata as metadata

runs = table(
    "runs",
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False, server_default="created"),
    Column("desired", Text, nullable=False, server_default="run"),  # obeyed at the next batch boundary
    Column("config", JSONB, nullable=False),
    Column("config_hash", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("iteration", Integer, nullable=False, server_default=ZERO),
    Column("prompt_count", Integer, nullable=False, server_default=ZERO),  # the next prompt's number: numbers are dense
    # the last event's number, assigned under this row's lock, so that commit order is sequence order
    Column("event_seq", BigInteger, nullable=False, server_default=ZERO),
    Column("error", Text),
    Column("note", Text, nullable=False, server_default=""),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("started_at", Time),
    Column("finished_at", Time),
    Column("forked_from", Integer),  # the run whose history was copied
    Column("forked_at", SmallInteger),  # up to the start of this iteration
    Column("code", JSONB),
    Column("deleted_at", Time),  # hidden from lists; no data is removed
    Column("folder", Text),  # the name that it was created with, if it was renamed since
    CheckConstraint("(forked_from IS NULL) = (forked_at IS NULL)", "fork"),
    ForeignKeyConstraint(["forked_from"], ["runs.id"], ondelete="RESTRICT"),
    CheckConstraint(
        "status IN ('created', 'queued', 'running', 'paused', 'finished', 'failed', 'cancelled')", "status"
    ),
    CheckConstraint("desired IN ('run', 'pause', 'cancel')", "desired"),
    CheckConstraint("iteration >= 0 AND prompt_count >= 0 AND event_seq >= 0", "counters"),
    Index(None, "status"),
)

WORDS = text("to_tsvector('simple'::regconfig, left(text, 50000))")
"""What a search looks through: the words of a text, unstemmed. Only the beginning of a long text is searched, because
the index cannot hold more than a megabyte of words, and no prompt is refused for its length."""

leases = table(
    "leases",
    run_id(),
    Column("fence", BigInteger, nullable=False, server_default=ZERO),  # grows with every claim, never shrinks
    Column("owner", JSONB),
    Column("expires_at", Time),
    Column("writes", BigInteger, nullable=False, server_default=ZERO),  # the number of the holder's last write
    CheckConstraint("(owner IS NULL) = (expires_at IS NULL)", "held"),
    of_run(),
)

prompts = table(
    "prompts",
    run_id(),
    key("number", Integer),
    Column("text", Text, nullable=False),
    # the messages before the text; only seed prompts keep them, because their descendants have the same
    Column("context", JSONB),
    # eva.creator.novelty.prompt_key, by which equal prompts are found
    Column("text_key", BigInteger, nullable=False),
    Column("parent", Integer),
    Column("root", Integer, nullable=False),
    Column("operator", Text),
    Column("depth", SmallInteger, nullable=False),
    Column("born", SmallInteger, nullable=False),  # -1 for a seed prompt
    Column("topic", Text),
    # the answer that is known to be right: a seed prompt's from its file, a child's from the creator
    Column("reference", Text),
    # how much it repeats other prompts, and the guide's score, both 0 to 1; null where they were not measured
    Column("likeness", Double),
    Column("guide", Double),
    # a parent's number is smaller than its child's, so lineages cannot form a circle
    CheckConstraint("number >= 0 AND parent >= 0 AND parent < number AND root <= number", "order"),
    CheckConstraint("(parent IS NULL) = (depth = 0) AND (parent IS NULL) = (operator IS NULL)", "seed"),
    CheckConstraint("context IS NULL OR parent IS NULL", "root_context"),
    CheckConstraint("depth >= 0 AND born >= -1", "counters"),
    of_run(),
    # ancestors are never deleted
    of_prompt("parent"),
    Index(None, "run_id", "parent"),
    Index(None, "run_id", "text_key"),
    Index(None, "run_id", "born"),
    Index(None, "run_id", "root"),
    Index(None, "run_id", "depth", "number"),
    Index("prompts_words_idx", WORDS, postgresql_using="gin"),
)

responses = table(
    "responses",
    run_id(),
    key("prompt", Integer),
    key("checkpoint", SmallInteger),
    key("sample", SmallInteger),
    Column("text", Text, nullable=False),
    Column("text_hash", BigInteger, nullable=False),
    Column("finish", Text, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    # optimiser steps from the checkpoint to the policy that sampled it; 0 is the checkpoint itself
    Column("step", Integer, nullable=False, server_default=ZERO),
    CheckConstraint("checkpoint >= 0 AND sample >= 0 AND tokens >= 0", "counters"),
    CheckConstraint("step >= 0", "step"),
    of_prompt(),
)

rewards = table(
    "rewards",
    run_id(),
    key("prompt", Integer),
    key("checkpoint", SmallInteger),
    key("sample", SmallInteger),
    key("rewarder", Text),
    Column("value", Double),
    Column("reason", Text),
    Column("answer", Text),  # what the rewarder read as the response's answer
    CheckConstraint("(value IS NULL) <> (reason IS NULL)", "value_or_reason"),
    CheckConstraint("value - value = 0", "finite"),
    of_response(),
)

# the manifest of the files with the tokens of the responses; (fence, serial) names a file and is their order
token_files = table(
    "token_files",
    run_id(),
    key("fence", BigInteger),
    key("serial", Integer),
    Column("iteration", SmallInteger, nullable=False),
    Column("records", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("pruned_at", Time),  # the file was deleted; the row stays
    Column("player", Text, nullable=False, server_default="solver"),  # whose tokens these are
    CheckConstraint("iteration >= 0 AND records > 0 AND size > 0", "counters"),
    of_player(),
    of_run(),
)

quarantines = table(
    "quarantines",
    run_id(),
    key("prompt", Integer),
    key("checkpoint", SmallInteger),
    Column("reason", Text, nullable=False),
    of_prompt(),
)

estimates = table(
    "estimates",
    run_id(),
    key("iteration", SmallInteger),
    key("prompt", Integer),
    # the policy whose responses the estimate is based on
    Column("checkpoint", SmallInteger, nullable=False),
    Column("info", Double),
    Column("reason", Text),
    Column("weight", Double),
    # the Gumbel key that sampling used
    Column("key", Double),
    Column("sampled", Boolean, nullable=False),
    Column("first", Boolean, nullable=False),  # whether this is the first time that the prompt was judged
    CheckConstraint("key - key = 0", "finite"),
    of_prompt(),
    Index(None, "run_id", "prompt"),
    Index(None, "run_id", "iteration", "info", "prompt"),
    Index("estimates_first_idx", "run_id", "info", "prompt", postgresql_where=text("first")),
)

evolutions = table(
    "evolutions",
    run_id(),
    key("iteration", SmallInteger),
    key("source", Integer),
    key("slot", SmallInteger),
    key("attempt", SmallInteger),
    Column("operator", Text, nullable=False),
    Column("parent_slot", SmallInteger),
    Column("text", Text, nullable=False),
    # why the child was rejected; null when it was accepted
    Column("reason", Text),
    Column("prompt_tokens", Integer, nullable=False),
    Column("reply_tokens", Integer, nullable=False),
    Column("cost_usd", Double, nullable=False),
    # the child's number, assigned at the end of the stage
    Column("child", Integer),
    # the reference answer that the creator gave with the child
    Column("reference", Text),
    Column("guide", Double),  # the guide's score
    CheckConstraint("child IS NULL OR reason IS NULL", "child_accepted"),
    of_prompt("source"),
    of_prompt("child"),
    Index(None, "run_id", "child"),
)

# what the creator's replies are worth, for a creator with weights of its own
creator_rewards = table(
    "creator_rewards",
    run_id(),
    key("iteration", SmallInteger),
    key("source", Integer),
    key("slot", SmallInteger),
    key("attempt", SmallInteger),
    Column("regret", Double),  # the child's info in the batch; null if it was refused or not judged
    Column("likeness", Double),  # null if it was refused
    Column("reward", Double),  # null if it was not judged
    Column("advantage", Double),
    # why the reply is not trained on; null when it may be
    Column("reason", Text),
    CheckConstraint("(advantage IS NULL) <> (reason IS NULL)", "advantage_or_reason"),
    CheckConstraint("advantage - advantage = 0 AND reward - reward = 0 AND regret - regret = 0", "finite"),
    CheckConstraint("likeness BETWEEN 0 AND 1", "likeness"),
    ForeignKeyConstraint(
        ["run_id", "iteration", "source", "slot", "attempt"],
        [
            "evolutions.run_id",
            "evolutions.iteration",
            "evolutions.source",
            "evolutions.slot",
            "evolutions.attempt",
        ],
        ondelete="RESTRICT",
    ),
)

batches = table(
    "batches",
    run_id(),
    key("iteration", SmallInteger),
    key("prompt", Integer),
    Column("buffer", Boolean, nullable=False),
    Column("checkpoint", SmallInteger, nullable=False),  # the policy whose responses are trained on
    Column("info", Double),
    Column("reason", Text),
    Column("first", Boolean, nullable=False),
    Column("chunk", SmallInteger),  # null: the batch was not cut
    of_prompt(),
    Index(None, "run_id", "prompt"),
    Index(None, "run_id", "iteration", "info", "prompt"),
    Index("batches_first_idx", "run_id", "info", "prompt", postgresql_where=text("first")),
)

# semi-online training: the parts of a batch that were judged and trained on one after the other
chunks = table(
    "chunks",
    run_id(),
    key("iteration", SmallInteger),
    key("chunk", SmallInteger),
    Column("of", SmallInteger, nullable=False),
    Column("prompts", Integer, nullable=False),
    Column("pairs", Integer, nullable=False),
    Column("skipped", JSONB, nullable=False),  # prompts without a pair, by reason
    Column("reward", Double),  # the mean over the chunk's responses
    CheckConstraint("chunk >= 0 AND chunk < of", "place"),
    of_run(),
)

pairs = table(
    "pairs",
    run_id(),
    key("iteration", SmallInteger),
    key("prompt", Integer),
    key("chosen", SmallInteger),
    key("rejected", SmallInteger),
    Column("checkpoint", SmallInteger, nullable=False),
    Column("chosen_reward", Double, nullable=False),
    Column("rejected_reward", Double, nullable=False),
    Column("margin", Double, nullable=False),
    CheckConstraint("chosen <> rejected", "two_responses"),
    of_response("chosen"),
    of_response("rejected"),
)

advantages = table(
    "advantages",
    run_id(),
    key("iteration", SmallInteger),
    key("prompt", Integer),
    key("sample", SmallInteger),
    Column("checkpoint", SmallInteger, nullable=False),
    Column("reward", Double),
    Column("advantage", Double),
    # why the response is not trained on; null when it is
    Column("reason", Text),
    CheckConstraint("(advantage IS NULL) <> (reason IS NULL)", "advantage_or_reason"),
    CheckConstraint("advantage - advantage = 0 AND reward - reward = 0", "finite"),
    of_response(),
)

checkpoints = table(
    "checkpoints",
    run_id(),
    key("number", SmallInteger),
    Column("iteration", SmallInteger, nullable=False),
    # the checkpoint that it was trained from; null for the initial model
    Column("parent", SmallInteger),
    Column("path", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("dropped", JSONB, nullable=False, server_default=EMPTY),
    Column("pruned_at", Time),  # its files were deleted; the row stays
    player(),
    CheckConstraint("number >= 0 AND (parent IS NULL OR parent < number)", "order"),
    of_player(),
    of_run(),
)

training_steps = table(
    "training_steps",
    run_id(),
    key("checkpoint", SmallInteger),
    key("step", Integer),
    Column("values", JSONB, nullable=False),
    player(),
    of_player(),
    of_run(),
)

stages = table(
    "stages",
    run_id(),
    key("iteration", SmallInteger),
    key("name", Text),
    # the order in which the run's stages were first started
    Column("position", Integer, nullable=False),
    Column("status", Text, nullable=False, server_default="running"),
    Column("attempts", Integer, nullable=False, server_default=text("1")),
    Column("done", Integer, nullable=False, server_default=ZERO),
    Column("total", Integer, nullable=False, server_default=ZERO),
    Column("input_hash", Text),
    Column("counts", JSONB, nullable=False, server_default=EMPTY),
    Column("seconds", Double, nullable=False, server_default=ZERO),
    Column("started_at", Time, nullable=False, server_default=NOW),
    Column("finished_at", Time),
    Column("error", Text),
    CheckConstraint("status IN ('running', 'done', 'failed')", "status"),
    CheckConstraint("(status = 'running') = (finished_at IS NULL)", "finished"),
    of_run(),
    Index("stages_open_idx", "run_id", postgresql_where=text("status <> 'done'")),
)

events = table(
    "events",
    run_id(),
    Column("seq", BigInteger, primary_key=True, autoincrement=False, nullable=False),
    Column("at", Time, nullable=False, server_default=NOW),
    Column("kind", Text, nullable=False),
    Column("iteration", SmallInteger),
    Column("stage", Text),
    Column("data", JSONB, nullable=False, server_default=EMPTY),
    of_run(),
    Index(None, "kind"),
)

statistics = table(
    "statistics",
    run_id(),
    key("iteration", SmallInteger),
    key("name", Text),
    Column("data", JSONB, nullable=False),
    of_run(),
)

prompt_categories = table(
    "prompt_categories",
    run_id(),
    key("prompt", Integer),
    # in which the prompt was classified
    Column("iteration", SmallInteger, nullable=False),
    Column("category", Text, nullable=False),
    Column("score", Double),
    CheckConstraint("score - score = 0", "finite"),
    of_prompt(),
)


# Held-out prompts, the responses of each checkpoint and of the baseline to them, and the rewards.


def _role() -> CheckConstraint:
    # the evaluator rewards every response; the auditor rewards some comparisons again, for a second opinion
    return CheckConstraint("role IN ('evaluator', 'auditor')", "role")


def _of_prompt() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["run_id", "split", "item"],
        ["heldout_prompts.run_id", "heldout_prompts.split", "heldout_prompts.item"],
        ondelete="RESTRICT",
    )


heldout_prompts = table(
    "heldout_prompts",
    run_id(),
    key("split", Text),
    key("item", Integer),
    Column("text", Text, nullable=False),
    # the messages before the text; of a later turn, without the policies' responses to the earlier ones
    Column("context", JSONB),
    Column("turn", SmallInteger, nullable=False, server_default=text("1")),
    # the split that holds the turn before
    Column("follows", Text),
    Column("reference", Text),
    CheckConstraint("(turn = 1) = (follows IS NULL) AND turn >= 1", "turn"),
    of_run(),
    ForeignKeyConstraint(
        ["run_id", "follows", "item"],
        ["heldout_prompts.run_id", "heldout_prompts.split", "heldout_prompts.item"],
        ondelete="RESTRICT",
    ),
)

heldout_responses = table(
    "heldout_responses",
    run_id(),
    key("checkpoint", SmallInteger),
    key("split", Text),
    key("mode", Text),
    key("item", Integer),
    key("sample", SmallInteger),
    Column("text", Text, nullable=False),
    Column("finish", Text, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("reward", Double),
    Column("reason", Text),
    CheckConstraint("mode IN ('greedy', 'sampled')", "mode"),
    CheckConstraint("(reward IS NULL) <> (reason IS NULL)", "reward_or_reason"),
    CheckConstraint("reward - reward = 0", "finite"),
    _of_prompt(),
)

heldout_baselines = table(
    "heldout_baselines",
    run_id(),
    key("split", Text),
    key("item", Integer),
    # the baseline's response, from its file
    Column("text", Text, nullable=False),
    _of_prompt(),
)

heldout_comparisons = table(
    "heldout_comparisons",
    run_id(),
    key("checkpoint", SmallInteger),
    key("split", Text),
    key("item", Integer),
    key("role", Text),
    # of the greedy response and of the baseline's, rewarded as two responses to one prompt
    Column("reward", Double),
    Column("baseline_reward", Double),
    # the probability that the policy's response is the better one; null with a reason
    Column("preference", Double),
    Column("reason", Text),
    _role(),
    CheckConstraint("(preference IS NULL) <> (reason IS NULL)", "preference_or_reason"),
    CheckConstraint("preference >= 0 AND preference <= 1", "share"),
    CheckConstraint("reward - reward = 0 AND baseline_reward - baseline_reward = 0", "finite"),
    _of_prompt(),
)

heldout_parts = table(
    "heldout_parts",
    run_id(),
    key("checkpoint", SmallInteger),
    key("split", Text),
    key("mode", Text),
    key("item", Integer),
    # among greedy responses, sample 1 is the baseline's, rewarded together with the policy's
    key("sample", SmallInteger),
    key("role", Text),
    # the rewarder's name, a slash and the part's name
    key("name", Text),
    Column("value", Double),
    Column("reason", Text),
    _role(),
    CheckConstraint("(value IS NULL) <> (reason IS NULL)", "value_or_reason"),
    CheckConstraint("value - value = 0", "finite"),
    _of_prompt(),
)

# Launches: the queue of runs, and the job of each run's driver.

launches = table(
    "launches",
    run_id(),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=ZERO),  # how many drivers were started in all
    Column("job", Text),  # written before it is submitted, so that submitting it twice makes one job
    Column("queued_at", Time, nullable=False, server_default=NOW),
    Column("not_before", Time, nullable=False, server_default=NOW),
    Column("restarts", Integer, nullable=False, server_default=ZERO),  # how many dead drivers may be replaced
    Column("restarted", Integer, nullable=False, server_default=ZERO),
    Column("backoff_s", Double, nullable=False, server_default=text("10")),
    Column("message", Text),  # what it is waiting for
    Column("idempotency_key", Text, unique=True),
    Column("body_hash", Text),
    CheckConstraint("state IN ('queued', 'taken', 'submitted', 'ended')", "state"),
    CheckConstraint("(state = 'queued') OR (job IS NOT NULL) OR (state = 'ended')", "job"),
    of_run(),
)

Index("launches_open_idx", launches.c.queued_at, launches.c.run_id, postgresql_where=text("state <> 'ended'"))

# Around the runs: API keys, exports, tracking services, totals.

api_keys = table(
    "api_keys",
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("prefix", Text, nullable=False),  # the public part of the key
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # eva.runtime.api_keys.key_digest
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("expires_at", Time),
    Column("last_used_at", Time),  # rounded down to the hour
    Column("revoked_at", Time),
    UniqueConstraint("prefix"),
    CheckConstraint("scope IN ('read', 'write', 'admin')", "scope"),
)

exports = table(
    "exports",
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("run_id", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="waiting"),
    Column("claimed_until", Time),  # renewed by the writer, so that a dead writer's claim ends
    Column("rows", BigInteger),
    Column("bytes", BigInteger),
    Column("error", Text),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("finished_at", Time),
    Column("expires_at", Time),
    CheckConstraint("status IN ('waiting', 'running', 'done', 'failed')", "status"),
    ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="RESTRICT"),
    Index(None, "run_id"),
)

trackings = table(
    "trackings",
    run_id(),
    key("tracker", Text),
    # how many of the points made by orchestrator.tracking.points the service has received
    Column("points", Integer, nullable=False),
    Column("changed_at", Time, nullable=False, server_default=NOW),
    of_run(),
)

# Webhooks: who is told about runs, and the messages that are on their way.

webhooks = table(
    "webhooks",
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("form", Text, nullable=False),
    Column("topics", ARRAY(Text), nullable=False),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),  # empty: runs of any tags
    Column("only_named", Boolean, nullable=False),  # told only about runs whose config names it
    Column("secret", Text, nullable=False),  # signs messages, so it cannot be a digest
    Column("created_at", Time, nullable=False, server_default=NOW),
    UniqueConstraint("name"),
    CheckConstraint("form IN ('json', 'slack')", "form"),
)

webhook_deliveries = table(
    "webhook_deliveries",
    Column("id", Text, primary_key=True),  # receivers see it at every attempt
    Column("webhook_id", Integer, nullable=False),
    Column("run_id", Integer),  # null for a test
    Column("event", BigInteger),
    Column("topic", Text, nullable=False),
    Column("message", JSON, nullable=False),  # in the order in which it is sent, which JSONB would forget
    Column("state", Text, nullable=False, server_default="waiting"),
    Column("attempts", Integer, nullable=False, server_default=ZERO),
    Column("next_at", Time, nullable=False, server_default=NOW),  # when it may be sent, again
    Column("status", SmallInteger),  # of the last response
    Column("error", Text),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("finished_at", Time),
    CheckConstraint("state IN ('waiting', 'delivered', 'given_up')", "state"),
    ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="RESTRICT"),
    UniqueConstraint("webhook_id", "run_id", "event"),
)

Index("webhook_deliveries_waiting_idx", webhook_deliveries.c.next_at, postgresql_where=text("state = 'waiting'"))

# Studies: arms x seeds x given models, each an ordinary run.

studies = table(
    "studies",
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("config", JSON, nullable=False),  # in the order of its file, which JSONB would forget
    Column("config_hash", Text, nullable=False),
    Column("created_at", Time, nullable=False, server_default=NOW),
    UniqueConstraint("name"),
)

study_runs = table(
    "study_runs",
    key("study_id", Integer),
    key("seed", BigInteger),
    key("model", Text),  # the given model as the study names it
    key("arm", Text),
    # a shared run plays the first iterations of several arms, which are forked from it; it is called after the first
    key("shared", Boolean),
    Column("run_id", Integer, nullable=False),
    ForeignKeyConstraint(["study_id"], ["studies.id"], ondelete="RESTRICT"),
    of_run(),
    Index(None, "run_id"),
)

# the queue of studies that a service plays, and the job of each study's driver
study_launches = table(
    "study_launches",
    key("study_id", Integer),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=ZERO),  # how many drivers were started in all
    Column("job", Text),  # written before it is submitted, so that submitting it twice makes one job
    Column("queued_at", Time, nullable=False, server_default=NOW),
    Column("message", Text),  # what it is waiting for, or the last lines of a driver that ended early
    CheckConstraint("state IN ('queued', 'taken', 'submitted', 'ended')", "state"),
    CheckConstraint("state = 'queued' OR job IS NOT NULL", "job"),
    ForeignKeyConstraint(["study_id"], ["studies.id"], ondelete="RESTRICT"),
)

# totals over the closed stages of all runs, a row per stage name
stage_totals = table(
    "stage_totals",
    Column("stage", Text, primary_key=True),
    *(
        Column(name, Double, nullable=False, server_default=ZERO)
        for name in (
            "closed",
            "seconds",
            "retries",
            "done",
            "responses",
            "tokens",
            "cost_usd",
            "quarantined",
            "accepted",
            "engine_ms",
            "engine_busy_ms",
            "engine_filled_ms",
        )
    ),
)
