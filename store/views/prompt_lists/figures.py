"""Figures of the prompts of a list: of the responses that they were judged by, over all policies, and their children.

Each is a part of a query that looks at one prompt of `found`, which has `number` and `checkpoint`. Figures are rounded,
so that a sum in another order gives the same page.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Float, Numeric, case, cast, func, or_, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.sql.selectable import FromClause

from store.schema.tables import prompts, responses, rewards, runs

FIGURES = ("reward", "margin", "length", "correlation", "vote", "success")
"""What is computed from the responses that a prompt was judged by: their mean reward, the best reward minus the worst,
their mean number of tokens, the correlation of the two over the responses, the share of the commonest answer where a
vote decides, and the share whose reward reaches the run's `evaluation.success`."""

LATER = ("gain", "children")
"""What is known of a prompt later: the mean reward of the newest policy that responded to it minus that of the first
one, and how many prompts were evolved directly from it."""

_SAME_RESPONSE = (
    rewards.c.run_id == responses.c.run_id,
    rewards.c.prompt == responses.c.prompt,
    rewards.c.checkpoint == responses.c.checkpoint,
    rewards.c["sample"] == responses.c["sample"],
)


def with_figures(run_id: int, found: FromClause) -> tuple[list[ColumnElement[Any]], FromClause]:
    """The columns of all figures, and of the commonest answer after FIGURES, with what they are selected from."""
    judged, gain, children = _figures(run_id, found), _gain(run_id, found), _children(run_id, found)
    joined = found.outerjoin(judged, true()).outerjoin(gain, true()).outerjoin(children, true())
    return [*judged.c, gain.c.gain, children.c.children], joined


def with_figure(run_id: int, found: FromClause, name: str) -> tuple[ColumnElement[Any], FromClause]:
    """The column of one figure, with what it is selected from."""
    part = {"gain": _gain, "children": _children}.get(name, _figures)(run_id, found)
    return part.c[name], found.outerjoin(part, true())


def _whole_reward() -> FromClause:
    """The reward of a response, and not its parts."""
    return (
        select(rewards.c.value, rewards.c.rewarder)
        .where(*_SAME_RESPONSE)
        # the names of parts begin with the name of the whole
        .order_by(func.length(rewards.c.rewarder), rewards.c.rewarder)
        .limit(1)
        .correlate(responses)
        .lateral("reward")
    )


def _figures(run_id: int, found: FromClause) -> FromClause:
    of_response = _whole_reward()
    name = rewards.c.rewarder
    part = func.starts_with(name, of_response.c.rewarder.concat("/"))
    of_vote = (
        select(
            func.max(rewards.c.value).filter(part, name.endswith("/share")).label("share"),
            func.max(rewards.c.answer).filter(or_(part, name == of_response.c.rewarder)).label("answer"),
        )
        .where(*_SAME_RESPONSE)
        .correlate(responses, of_response)
        .lateral("vote")
    )
    value, tokens = of_response.c.value, cast(responses.c.tokens, Float(53))
    asked = select(runs.c.config["evaluation"]["success"].as_float()).where(runs.c.id == run_id).scalar_subquery()
    computed = (
        func.avg(value),
        func.max(value) - func.min(value),
        func.avg(tokens),
        func.corr(tokens, value),
        func.max(of_vote.c.share),
        func.avg(case((value >= func.coalesce(asked, 1.0), 1.0), else_=0.0)),
    )
    columns = [_rounded(figure).label(name) for name, figure in zip(FIGURES, computed, strict=True)]
    commonest = func.mode().within_group(of_vote.c.answer).label("answer")
    return (
        select(*columns, commonest)
        .select_from(responses)
        .outerjoin(of_response, true())
        .outerjoin(of_vote, true())
        .where(
            responses.c.run_id == run_id,
            responses.c.prompt == found.c.number,
            responses.c.checkpoint == found.c.checkpoint,
        )
        .correlate(found)
        .lateral("figures")
    )


def _gain(run_id: int, found: FromClause) -> FromClause:
    """Null unless two policies or more have responses with a reward."""
    of_response = _whole_reward()
    mean = func.avg(of_response.c.value)
    by_policy = (
        select(responses.c.checkpoint, mean.label("reward"))
        .select_from(responses)
        .join(of_response, true())
        .where(responses.c.run_id == run_id, responses.c.prompt == found.c.number)
        .group_by(responses.c.checkpoint)
        .having(mean.is_not(None))
        .correlate(found)
    )
    each = by_policy.subquery("by_policy")
    newest, first = (
        func.array_agg(aggregate_order_by(each.c.reward, order))[1]
        for order in (each.c.checkpoint.desc(), each.c.checkpoint)
    )
    change = _rounded(case((func.count() > 1, newest - first)))
    return select(change.label("gain")).select_from(each).correlate(found).lateral("later")


def _children(run_id: int, found: FromClause) -> FromClause:
    child = prompts.alias("child")
    count = select(func.count().label("children")).where(child.c.run_id == run_id, child.c.parent == found.c.number)
    return count.select_from(child).correlate(found).lateral("kin")


def _rounded(figure: ColumnElement[Any]) -> ColumnElement[float | None]:
    return cast(func.round(cast(figure, Numeric), 9), Float(53))
