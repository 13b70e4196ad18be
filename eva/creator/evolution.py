"""evolve: writes children of sampled prompts, in chains, and refuses and retries unusable ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

from eva.creator.budget import Spending
from eva.creator.novelty import ALL_NEW, NoveltyCheck, jaccard, prompt_key, question_key, scope
from eva.creator.operators import LEAVES_TOPIC, NEEDS_PARTNER
from eva.creator.unusable_text import unusable
from eva.measures.minhash import near_twins
from eva.roles import Evolver, Guide
from eva.seeds import derive, generator, storable_text
from eva.types import Attempt, Chain, Context, Feedback, GuideScore, Mutation, Prompt, Reply

GUIDE = "guide"
"""The reason for refusing a child that the guide finds no sensible task."""


@dataclass(frozen=True, slots=True)
class EvolutionPlan:
    """Everything that decides the evolutions of one iteration, besides the sampled prompts.

    `known` holds the prompt keys of all prompts of the run, `protected` the question keys of the held-out prompts.
    `operators` are the ones to draw from; empty means the evolver's own. `probabilities` says how likely each is; None
    means all alike. `partners` are the sampled prompts that begin
    a conversation, for operators that take a second prompt. `feedback` says how the policy did on each sampled prompt.
    `copies`: the children are copies of the sampled prompts, of which none is refused. `guide_floor`: the least score
    of a guide, if there is one.
    """

    seed: int
    iteration: int
    per_prompt: int
    attempts: int
    mode: Literal["chain", "fan_out"]
    max_chars: int
    similarity: float
    known: Collection[int]
    protected: Collection[int]
    operators: tuple[str, ...] = ()
    probabilities: Mapping[str, float] | None = None
    partners: Sequence[Prompt] = ()
    feedback: Mapping[int, Feedback] = field(default_factory=dict[int, Feedback])
    novelty: NoveltyCheck = ALL_NEW
    copies: bool = False
    guide_floor: float = 0.0


def refusal(child: str, relatives: Iterable[str], plan: EvolutionPlan, context: Context = ()) -> str | None:
    """Returns why a child is refused, or None. `relatives`: its parent and its chain so far, with the same context."""
    if plan.copies:
        return None
    if (reason := unusable(child, plan.max_chars)) is not None:
        return reason
    if question_key(child, context) in plan.protected:
        return "protected"
    if (key := prompt_key(child, context)) in plan.known:
        return "known"
    for relative in relatives:
        if key == prompt_key(relative, context):
            return "equal_to_relative"
        if plan.similarity < 1 and jaccard(child, relative) >= plan.similarity:
            return "near_relative"
    return plan.novelty.reason(child, context)


def evolve_chain(
    source: Prompt,
    evolver: Evolver,
    plan: EvolutionPlan,
    spending: Spending | None = None,
    guide: Guide | None = None,
) -> Chain:
    """Evolves one prompt and returns all attempts.

    A refused child is retried from the last good ancestor, a bounded number of times. Each attempt draws its operator
    from a seed of its own. If the budget is used up, the chain ends early and may be empty. A `guide` scores what
    passed all other checks.
    """
    budget = spending or Spending()
    attempts: list[Attempt] = []
    texts: dict[int | None, str] = {None: source.text}
    good: int | None = None
    for slot in range(plan.per_prompt):
        parent = good if plan.mode == "chain" else None
        for number in range(plan.attempts):
            if not budget.grant():
                return Chain(source.number, tuple(attempts))
            mutation = _mutation(source, texts[parent], (slot, number), evolver, plan)
            reply = evolver.evolve(mutation)
            reply = _storable(reply)  # what the store keeps is what evolves further
            budget.charge(reply)
            reason = _unfinished(reply) or refusal(reply.text, texts.values(), plan, source.context)
            score = None
            if guide is not None and reason is None and not plan.copies:
                opinion = guide.score(reply.text, source.context, mutation.seed)
                budget.charge(_cost_of(opinion))
                reply, score = _with_cost(reply, opinion), opinion.score
                reason = GUIDE if score is not None and score < plan.guide_floor else None
            attempts.append(Attempt(slot, number, mutation.operator, parent, reply, reason, score))
            if reason is None:
                texts[slot], good = reply.text, slot
                break
    return Chain(source.number, tuple(attempts))


def _mutation(source: Prompt, text: str, place: tuple[int, int], evolver: Evolver, plan: EvolutionPlan) -> Mutation:
    """Returns the mutation for this (slot, attempt), drawn from seeds derived for it alone."""
    path = (plan.iteration, "evolve", source.number, *place)
    operators = plan.operators or evolver.operators
    # of any two different partners, at least one is not the source
    partnered = any(prompt.number != source.number for prompt in plan.partners[:2])
    if not partnered:
        # if every operator needs a partner, draw one anyway: the evolver reports that the partner is missing
        operators = tuple(name for name in operators if name not in NEEDS_PARTNER) or operators
    draw = generator(plan.seed, *path, "operator")
    if plan.probabilities is None:
        operator = draw.choice(operators)
    else:
        operator = draw.choices(operators, [plan.probabilities[name] for name in operators])[0]
    partner = None
    if operator in NEEDS_PARTNER and partnered:
        drawn = generator(plan.seed, *path, "partner").sample(plan.partners, min(2, len(plan.partners)))
        partner = next(prompt.text for prompt in drawn if prompt.number != source.number)
    return Mutation(text, operator, derive(plan.seed, *path), partner, plan.feedback.get(source.number), source.context)


def _cost_of(opinion: GuideScore) -> Reply:
    return Reply("", opinion.prompt_tokens, opinion.reply_tokens, opinion.cost_usd)


def _with_cost(reply: Reply, opinion: GuideScore) -> Reply:
    return replace(
        reply,
        prompt_tokens=reply.prompt_tokens + opinion.prompt_tokens,
        reply_tokens=reply.reply_tokens + opinion.reply_tokens,
        cost_usd=reply.cost_usd + opinion.cost_usd,
    )


def _storable(reply: Reply) -> Reply:
    reference = None if reply.reference is None else storable_text(reply.reference).strip() or None
    return replace(reply, text=storable_text(reply.text), reference=reference)


def _unfinished(reply: Reply) -> str | None:
    """Returns why a reply is incomplete: "cut" at the token limit, or the evolver's reason, or None."""
    return None if reply.finish == "stop" else "cut" if reply.finish == "length" else reply.finish


def evolve_all(
    sources: Iterable[Prompt],
    evolver: Evolver,
    plan: EvolutionPlan,
    concurrency: int,
    spending: Spending | None = None,
    guide: Guide | None = None,
) -> Generator[Chain]:
    """Yields chains as they finish. At most `concurrency` run at a time, and sources are pulled lazily.

    Once the budget is used up, no further source is taken. Chains without an attempt are not yielded.
    """
    waiting, budget = iter(sources), spending or Spending()
    with ThreadPoolExecutor(concurrency, thread_name_prefix="evolve") as threads:

        def start(count: int) -> set[Future[Chain]]:
            some = () if budget.used_up else islice(waiting, count)
            return {threads.submit(evolve_chain, source, evolver, plan, budget, guide) for source in some}

        running = start(concurrency)
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)  # bounded: by the evolver
                running |= start(len(done))
                for future in done:
                    if (chain := future.result()).attempts:  # bounded: it is done
                        yield chain
        finally:
            budget.stop()
            threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Offspring:
    """The numbered children of an iteration; `places` maps (source, slot) to the child's prompt number.

    `duplicates` are accepted children that equal or nearly equal an earlier one in canonical order, `alike` those with
    the same meaning as an earlier one. They are dropped, and their own children descend from the earlier twin.
    """

    children: tuple[Prompt, ...]
    places: Mapping[tuple[int, int], int]
    duplicates: tuple[tuple[int, int], ...]
    alike: tuple[tuple[int, int], ...] = ()


Twins = Callable[[Sequence[str], Sequence[Context]], list[int | None]]
"""Returns, for each text and its context, the index of the first earlier text with the same meaning, or None."""


def number_children(
    chains: Sequence[Chain],
    sources: Mapping[int, Prompt],
    first: int,
    iteration: int,
    similarity: float = 1.0,
    same_meaning: Twins | None = None,
    *,
    copies: bool = False,
) -> Offspring:
    """Numbers the accepted children densely from `first`, in order of (source, slot): the same in every replay.

    Children whose shingles overlap those of an earlier child by `similarity` or more are dropped (1: only equal ones);
    of the rest, those with an earlier twin by `same_meaning`. With `copies` none is dropped.
    """
    accepted = [
        (chain.source, attempt)
        for chain in sorted(chains, key=lambda chain: chain.source)
        for attempt in chain.accepted
    ]
    children: list[Prompt] = []
    family: dict[tuple[int, int | None], Prompt] = {(number, None): prompt for number, prompt in sources.items()}
    born: list[Prompt] = []
    dropped: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
    contexts = [sources[source].context for source, _ in accepted]
    twins = [None] * len(accepted) if copies else _twins(accepted, contexts, similarity)
    alike = {} if copies else _alike(accepted, contexts, twins, same_meaning)
    for place, (source, attempt) in enumerate(accepted):
        twin = alike.get(place, twins[place])
        if twin is None:
            parent = family[source, attempt.parent_slot]
            children.append(
                Prompt(
                    first + len(children),
                    attempt.reply.text,
                    parent.number,
                    parent.root,
                    attempt.operator,
                    parent.depth + 1,
                    iteration,
                    None if attempt.operator in LEAVES_TOPIC else parent.topic,
                    parent.context,
                    parent.reference if copies else attempt.reply.reference,
                    guide=attempt.guide,
                )
            )
            born.append(children[-1])
        else:
            dropped[place in alike].append((source, attempt.slot))
            born.append(born[twin])
        family[source, attempt.slot] = born[-1]
    places = {(source, slot): child.number for (source, slot), child in family.items() if slot is not None}
    return Offspring(tuple(children), places, tuple(dropped[False]), tuple(dropped[True]))


def _twins(accepted: Sequence[tuple[int, Attempt]], contexts: Sequence[Context], similarity: float) -> list[int | None]:
    """Returns, for each child, the first earlier one that equals it, else nearly equals it, else None."""
    texts = [attempt.reply.text for _, attempt in accepted]
    twins, seen = near_twins(texts, similarity, list(map(scope, contexts))), dict[int, int]()
    for place, (text, context) in enumerate(zip(texts, contexts, strict=True)):
        equal = seen.setdefault(prompt_key(text, context), place)
        if equal != place:
            twins[place] = equal
    return twins


def _alike(
    accepted: Sequence[tuple[int, Attempt]],
    contexts: Sequence[Context],
    twins: Sequence[int | None],
    same_meaning: Twins | None,
) -> dict[int, int]:
    """Maps the children without a twin in words, but with one in meaning, to that twin (indexes of `accepted`)."""
    rest = [place for place, twin in enumerate(twins) if twin is None]
    if same_meaning is None or not rest:
        return {}
    matches = same_meaning([accepted[place][1].reply.text for place in rest], [contexts[place] for place in rest])
    return {place: rest[twin] for place, twin in zip(rest, matches, strict=True) if twin is not None}
