"""The parts of a report that tell a story: a family of prompts, a held-out prompt, info by difficulty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.prompts.conversations import as_rows
from store.game import heldout, prompts
from store.views import report
from store.views.report import HeldoutScore, Member, RewardedText

Facts = dict[str, Any]

LONGEST_PATH = 5
SIBLINGS = 40


def family(conn: Connection, run_id: int, rewarder: str) -> list[Facts]:
    """One seed, the path to a late descendant, and the path's other children; [] before any evolved."""
    root = report.telling_root(conn, run_id)
    if root is None:
        return []
    members = {member.number: member for member in report.family_members(conn, run_id, root)}
    path = _telling_path(members)
    beside = [member for member in members.values() if member.parent in path and member.number not in path][:SIBLINGS]
    shown = [members[number] for number in path] + beside
    texts = _texts(conn, run_id, rewarder, shown)
    (seed,) = prompts.read_prompts(conn, run_id, [root])
    return [
        _fact(member, member.number in path, texts.get(member.number, [])) | {"context": as_rows(seed.context)}
        for member in shown
    ]


def _telling_path(members: Mapping[int, Member]) -> list[int]:
    """From the seed to the end of the most telling path: late, judged all along, informative."""

    def worth(member: Member) -> tuple[int, float, int, float, int]:
        path = [members[number] for number in _path(members, member.number)]
        judged = [one.info for one in path if one.info is not None]
        return (
            member.born,
            len(judged) / len(path),
            min(member.depth, LONGEST_PATH),
            sum(judged) / max(1, len(judged)),
            -member.number,
        )

    evolved = [member for member in members.values() if member.depth and member.iteration is not None]
    brief = [member for member in evolved if member.depth <= LONGEST_PATH]
    return _path(members, max(brief or evolved, key=worth).number)


def _path(members: Mapping[int, Member], number: int) -> list[int]:
    path = [number]
    while (parent := members[path[0]].parent) is not None:
        path.insert(0, parent)
    return path


def _texts(conn: Connection, run_id: int, rewarder: str, shown: Iterable[Member]) -> dict[int, list[RewardedText]]:
    asked = [(member.number, member.checkpoint) for member in shown if member.checkpoint is not None]
    by_prompt: dict[int, list[RewardedText]] = {}
    for text in report.rewarded_texts(conn, run_id, rewarder, asked):
        by_prompt.setdefault(text.prompt, []).append(text)
    return by_prompt


def _fact(member: Member, on_path: bool, texts: Sequence[RewardedText]) -> Facts:
    best = max(texts, key=lambda text: text.reward, default=None)
    worst = min(texts, key=lambda text: text.reward, default=None)
    return {
        "number": member.number,
        "parent": member.parent,
        "operator": member.operator,
        "depth": member.depth,
        "iteration": member.born if member.depth else None,
        "text": member.text,
        "on_path": on_path,
        "info": member.info,
        "checkpoint": member.checkpoint,
        "best": best and {"text": best.text, "reward": best.reward},
        "worst": worst and {"text": worst.text, "reward": worst.reward},
    }


def heldout_example(conn: Connection, run_id: int, scores: Sequence[HeldoutScore], success: float) -> Facts | None:
    """One prompt of the hardest split, answered greedily by each checkpoint; None if none was answered."""
    greedy = [score for score in scores if score.mode == "greedy"]
    before = {score.split: (score.correct / score.n, score.reward or 0.0) for score in greedy if score.checkpoint == 0}
    if not before:
        return None
    split = min(before, key=lambda name: (before[name], name))
    last = max(score.checkpoint for score in greedy if score.split == split)
    item = report.telling_item(conn, run_id, split, 0, last, success)
    if item is None:
        return None
    answers = report.heldout_answers(conn, run_id, split, item)
    return {
        "split": split,
        "item": item,
        "text": heldout.read_heldout(conn, run_id, split)[item],
        "context": as_rows(heldout.read_heldout_contexts(conn, run_id, split).get(item, ())),
        "answers": [
            {
                "checkpoint": answer.checkpoint,
                "text": answer.text,
                "reward": answer.reward,
                "correct": answer.reward is not None and answer.reward >= success,
                "reason": answer.reason,
            }
            for answer in answers
        ],
    }


def info_by_operations(conn: Connection, run_id: int, config: RunConfig) -> list[Facts]:
    """Playground only: mean info of each batch by the number of operations that its prompts chain."""
    if config.evolving.evolver.kind != "playground":
        return []
    return [
        {
            "iteration": group.iteration,
            "operations": group.group + 1,
            "prompts": group.prompts,
            "info": group.info,
        }
        for group in report.info_by_occurrences(conn, run_id, ", then ")
    ]
