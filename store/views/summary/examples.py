"""The parts of a summary that show texts: a family of prompts, a held-out prompt; and informativeness by difficulty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.prompts.conversations import as_rows
from store.game import heldout, prompts
from store.views import report
from store.views.report import HeldoutScore, MemberRow, RewardedText
from store.views.summary.schema import (
    Context,
    DifficultyInfo,
    FamilyMember,
    HeldoutExample,
    PolicyResponse,
    RewardedResponse,
)

LONGEST_PATH = 5
SIBLINGS = 40


def family(conn: Connection, run_id: int, rewarder: str) -> tuple[FamilyMember, ...]:
    """One seed, the path to a late descendant, and other children along the path; empty before any prompt evolved."""
    root = report.most_evolved_root(conn, run_id)
    if root is None:
        return ()
    members = {member.number: member for member in report.family_members(conn, run_id, root)}
    path = _telling_path(members)
    siblings = [member for member in members.values() if member.parent in path and member.number not in path]
    shown = [members[number] for number in path] + siblings[:SIBLINGS]
    texts = _texts(conn, run_id, rewarder, shown)
    (seed,) = prompts.read_prompts(conn, run_id, [root])
    context = tuple(as_rows(seed.context))
    return tuple(_member(member, member.number in path, texts.get(member.number, []), context) for member in shown)


def _telling_path(members: Mapping[int, MemberRow]) -> list[int]:
    """From the seed to the end of the most telling path: late, judged all along, informative."""

    def worth(member: MemberRow) -> tuple[int, float, int, float, int]:
        path = [members[number] for number in _path(members, member.number)]
        judged = [ancestor.info for ancestor in path if ancestor.info is not None]
        return (
            member.born,
            len(judged) / len(path),
            min(member.depth, LONGEST_PATH),
            sum(judged) / max(1, len(judged)),
            -member.number,
        )

    evolved = [member for member in members.values() if member.depth and member.iteration is not None]
    short = [member for member in evolved if member.depth <= LONGEST_PATH]
    return _path(members, max(short or evolved, key=worth).number)


def _path(members: Mapping[int, MemberRow], number: int) -> list[int]:
    path = [number]
    while (parent := members[path[0]].parent) is not None:
        path.insert(0, parent)
    return path


def _texts(conn: Connection, run_id: int, rewarder: str, shown: Iterable[MemberRow]) -> dict[int, list[RewardedText]]:
    judged = [(member.number, member.checkpoint) for member in shown if member.checkpoint is not None]
    by_prompt: dict[int, list[RewardedText]] = {}
    for text in report.rewarded_texts(conn, run_id, rewarder, judged):
        by_prompt.setdefault(text.prompt, []).append(text)
    return by_prompt


def _member(member: MemberRow, on_path: bool, texts: Sequence[RewardedText], context: Context) -> FamilyMember:
    best = max(texts, key=lambda text: text.reward, default=None)
    worst = min(texts, key=lambda text: text.reward, default=None)
    return FamilyMember(
        number=member.number,
        parent=member.parent,
        operator=member.operator,
        depth=member.depth,
        iteration=member.born if member.depth else None,
        text=member.text,
        on_path=on_path,
        info=member.info,
        checkpoint=member.checkpoint,
        best=best and RewardedResponse(best.text, best.reward),
        worst=worst and RewardedResponse(worst.text, worst.reward),
        context=context,
    )


def heldout_example(
    conn: Connection, run_id: int, scores: Sequence[HeldoutScore], success: float
) -> HeldoutExample | None:
    """One prompt of the hardest set with every policy's greedy response; None if no policy has responded to one."""
    greedy = [score for score in scores if score.mode == "greedy"]
    # a later turn would have to be shown with what each policy responded before it
    first_turns = heldout.heldout_splits(conn, run_id, turn=1)
    before = {
        score.split: (score.correct / score.n, score.reward or 0.0)
        for score in greedy
        if score.checkpoint == 0 and score.split in first_turns
    }
    if not before:
        return None
    split = min(before, key=lambda name: (before[name], name))
    last = max(score.checkpoint for score in greedy if score.split == split)
    item = report.most_improved_item(conn, run_id, split, 0, last, success)
    if item is None:
        return None
    return HeldoutExample(
        split=split,
        item=item,
        text=heldout.read_heldout(conn, run_id, split)[item],
        context=tuple(as_rows(heldout.read_heldout_contexts(conn, run_id, split).get(item, ()))),
        answers=tuple(
            PolicyResponse(
                checkpoint=answer.checkpoint,
                text=answer.text,
                reward=answer.reward,
                correct=answer.reward is not None and answer.reward >= success,
                reason=answer.reason,
            )
            for answer in report.heldout_examples(conn, run_id, split, item)
        ),
    )


def info_by_operations(conn: Connection, run_id: int, config: RunConfig) -> tuple[DifficultyInfo, ...]:
    """Playground only: mean info of each batch by the number of operations that its prompts chain."""
    if config.evolving.evolver.kind != "playground":
        return ()
    return tuple(
        DifficultyInfo(group.iteration, group.group + 1, group.prompts, group.info)
        for group in report.info_by_occurrences(conn, run_id, ", then ")
    )
