"""The tables of the held-out prompts: what each checkpoint and the baseline answer to them, and its rewards."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Double, ForeignKeyConstraint, Integer, SmallInteger, Text
from sqlalchemy.dialects.postgresql import JSONB

from store.schema import key, of_run, run_id, table


def _role() -> CheckConstraint:
    # the examiner rewards every answer; the auditor looks at some comparisons for a second opinion
    return CheckConstraint("role IN ('examiner', 'auditor')", "role")


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
    Column("context", JSONB),
    of_run(),
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
    # what a baseline answered, from its file
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
    # of the greedy answer and of the baseline's, rewarded as two responses to one prompt
    Column("reward", Double),
    Column("baseline_reward", Double),
    # the probability that the policy's answer is the better one; null with the reason why there is none
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
    # of greedy answers sample 1 is the baseline's, rewarded beside them
    key("sample", SmallInteger),
    key("role", Text),
    # of the rewarder, then of the part
    key("name", Text),
    Column("value", Double),
    Column("reason", Text),
    _role(),
    CheckConstraint("(value IS NULL) <> (reason IS NULL)", "value_or_reason"),
    CheckConstraint("value - value = 0", "finite"),
    _of_prompt(),
)
