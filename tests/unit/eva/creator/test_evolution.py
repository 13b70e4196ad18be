import threading
from collections import Counter
from collections.abc import Sequence

import pytest

from eva.creator.budget import Spending, SpendingLimits
from eva.creator.evolution import EvolutionPlan, evolve_all, evolve_chain, number_children, refusal
from eva.creator.novelty import jaccard, text_key
from eva.errors import EvolverError
from eva.types import Attempt, Chain, Context, Feedback, Mutation, Prompt, Reply

SOURCE = Prompt(7, "Describe the water cycle for a child.", root=7)


def plan(**changes: object) -> EvolutionPlan:
    values: dict[str, object] = {
        "seed": 1,
        "iteration": 1,
        "per_prompt": 4,
        "attempts": 3,
        "mode": "chain",
        "max_chars": 500,
        "similarity": 0.95,
        "known": frozenset(),
        "protected": frozenset(),
    }
    return EvolutionPlan(**(values | changes))  # type: ignore[arg-type]


class Writer:
    """Appends its operator to the parent; returns the texts listed in `bad` first, in order."""

    operators = ("deepening", "breadth", "constraints")

    def __init__(self, *bad: str) -> None:
        self.bad, self.asked = list(bad), list[Mutation]()

    def evolve(self, mutation: Mutation) -> Reply:
        self.asked.append(mutation)
        good = f"{mutation.text} {mutation.operator} {mutation.seed % 1000}"
        return Reply(self.bad.pop(0) if self.bad else good, 5, 7)


def test_in_a_chain_each_child_grows_from_the_one_before() -> None:
    writer = Writer()
    chain = evolve_chain(SOURCE, writer, plan())
    assert [attempt.parent_slot for attempt in chain.accepted] == [None, 0, 1, 2]
    assert [asked.text for asked in writer.asked] == [SOURCE.text, *(one.reply.text for one in chain.accepted[:3])]


def test_in_a_fan_out_all_children_grow_from_the_sampled_prompt() -> None:
    chain = evolve_chain(SOURCE, Writer(), plan(mode="fan_out"))
    assert [attempt.parent_slot for attempt in chain.accepted] == [None] * 4


def test_a_refused_child_is_retried_from_the_last_good_ancestor_and_never_evolved() -> None:
    writer = Writer("A fine first child about rain.", "", "I'm sorry, I can't help with that.")
    chain = evolve_chain(SOURCE, writer, plan(per_prompt=2))
    assert [attempt.reason for attempt in chain.attempts] == [None, "empty", "apology", None]
    assert {asked.text for asked in writer.asked[1:]} == {"A fine first child about rain."}


def test_a_child_that_is_always_refused_is_given_up_without_harming_the_chain() -> None:
    writer = Writer("First good child.", "", "", "", "Second good child, later.")
    chain = evolve_chain(SOURCE, writer, plan(per_prompt=3))
    assert [(one.slot, one.parent_slot) for one in chain.accepted] == [(0, None), (2, 0)]
    assert Counter(one.reason for one in chain.attempts) == {None: 2, "empty": 3}


@pytest.mark.parametrize(
    ("child", "reason"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        ("?!… --", "no_content"),
        ("to the of and", "no_content"),
        ("#Rewritten Prompt#: Explain rain.", "scaffolding"),
        ("Here is the given prompt made harder.", "scaffolding"),
        ("I'm sorry, but I cannot do that.", "apology"),
        ("As an AI language model I have no opinion.", "apology"),
        ("I won't write that.", "apology"),
        ("Es tut mir leid, aber dabei kann ich nicht helfen.", "apology"),
        ("Je suis désolé, mais je ne peux pas répondre.", "apology"),
        ("Lo siento, pero no puedo ayudar con eso.", "apology"),
        ("Mi dispiace, non posso aiutarti.", "apology"),
        ("Desculpe, mas não posso ajudar.", "apology"),
        ("К сожалению, я не могу помочь.", "apology"),
        ("很抱歉，我无法提供这样的内容。", "apology"),
        ("对不起，我不能这样做。", "apology"),
        ("申し訳ありませんが、お手伝いできません。", "apology"),
        ("죄송하지만 도와드릴 수 없습니다.", "apology"),
        ("عذراً، لا أستطيع المساعدة.", "apology"),
        ("すみません、駅への道を説明してください。", None),
        ("Извините меня: напишите письмо с извинением.", None),
        ("Explain rain.<|im_end|>", "control_token"),
        ("Explain rain. </think> Or snow.", "control_token"),
        ('{"name": "rain", "kind": "weather"}', "json"),
        ('Parse {"name": "rain"} by hand.', None),
        ("x" * 501, "too_long"),
        ("describe  the WATER cycle for a child.", "equal_to_relative"),
        ("A known prompt.", "known"),
        ("A held-out prompt.", "protected"),
        ("Explain why it rains.", None),
        ("Apologise in three languages.", None),
        ("水循環を説明してください", None),
    ],
)
def test_refusals_have_reasons(child: str, reason: str | None) -> None:
    rules = plan(known={text_key("a known  prompt.")}, protected={text_key("A held-out prompt.")})
    assert refusal(child, [SOURCE.text], rules) == reason


def test_a_nearly_equal_child_is_refused_by_its_shingles() -> None:
    parent = " ".join(f"word{number}" for number in range(100))
    child = parent + " more"
    assert 0.95 < jaccard(parent, child) < 1
    assert refusal(child, [parent], plan(max_chars=5000)) == "near_relative"
    assert refusal(child, [parent], plan(max_chars=5000, similarity=1.0)) is None


def test_novelty_checks_come_last_and_give_their_reason() -> None:
    class OnlyRain:
        def reason(self, text: str, context: Context = ()) -> str | None:
            return None if "rain" in text else "not_about_rain"

    chain = evolve_chain(
        SOURCE, Writer("A child about snow.", "Sorry, no.", "Rain, rain: rain."), plan(per_prompt=1, novelty=OnlyRain())
    )
    assert [attempt.reason for attempt in chain.attempts] == ["not_about_rain", "apology", None]


def test_operators_are_drawn_uniformly_from_derived_seeds() -> None:
    chains = [evolve_chain(Prompt(number, "Tell me of rain."), Writer(), plan()) for number in range(300)]
    drawn = Counter(one.operator for chain in chains for one in chain.attempts)
    assert len(drawn) == 3 and min(drawn.values()) > 340
    assert chains[5] == evolve_chain(Prompt(5, "Tell me of rain."), Writer(), plan())


def test_the_plans_operators_replace_the_evolvers_own() -> None:
    chains = [
        evolve_chain(Prompt(number, "Tell me of rain."), Writer(), plan(operators=("a", "b"))) for number in range(20)
    ]
    assert {one.operator for chain in chains for one in chain.attempts} == {"a", "b"}


def test_mix_gets_another_prompt_of_the_subset_drawn_by_seed_and_is_left_out_without_one() -> None:
    subset = [Prompt(number, f"Tell me of {number}.") for number in range(6)]
    writer = Writer()
    for source in subset:
        evolve_chain(source, writer, plan(operators=("mix",), partners=subset, mode="fan_out"))
    partners = Counter(asked.partner for asked in writer.asked)
    assert len(partners) == 6 and all(asked.partner != asked.text for asked in writer.asked)
    again = Writer()
    evolve_chain(subset[0], again, plan(operators=("mix",), partners=subset, mode="fan_out"))
    assert again.asked == writer.asked[:4]
    alone = Writer()
    evolve_chain(subset[0], alone, plan(operators=("mix", "persona"), partners=subset[:1]))
    assert {(asked.operator, asked.partner) for asked in alone.asked} == {("persona", None)}
    beside = Writer()
    evolve_chain(subset[1], beside, plan(operators=("mix",), partners=subset[:1]))
    assert {asked.partner for asked in beside.asked} == {"Tell me of 0."}


def test_every_mutation_of_a_chain_knows_how_the_policy_did_on_the_sampled_prompt() -> None:
    seen = Feedback(SOURCE.text, "good", 1.0, "bad", 0.0)
    writer = Writer()
    evolve_chain(SOURCE, writer, plan(feedback={7: seen}))
    evolve_chain(Prompt(8, "Tell me of snow."), writer, plan(feedback={7: seen}))
    assert [asked.context for asked in writer.asked] == [seen] * 4 + [None] * 4


def test_a_cut_or_missing_reply_is_refused_with_its_own_reason() -> None:
    class Cut(Writer):
        def evolve(self, mutation: Mutation) -> Reply:
            return Reply("A fine but unfinished", 5, 7, finish=("length", "declined")[len(self.bad) % 2])

    assert {one.reason for one in evolve_chain(SOURCE, Cut(), plan()).attempts} == {"cut"}
    assert {one.reason for one in evolve_chain(SOURCE, Cut("x"), plan()).attempts} == {"declined"}


def test_a_budget_of_attempts_is_exact_however_many_chains_run() -> None:
    sources = [Prompt(number, f"Prompt {number} of rain.") for number in range(30)]
    writer = Writer()
    chains = list(evolve_all(sources, writer, plan(), 8, Spending(SpendingLimits(max_attempts=37))))
    assert sum(len(chain.attempts) for chain in chains) == len(writer.asked) == 37
    assert all(chain.attempts for chain in chains)


@pytest.mark.parametrize("limits", [SpendingLimits(max_tokens=100), SpendingLimits(max_cost_usd=0.0833)])
def test_a_budget_of_tokens_or_money_is_exceeded_at_most_by_replies_in_flight(limits: SpendingLimits) -> None:
    class Priced(Writer):
        def evolve(self, mutation: Mutation) -> Reply:
            return Reply(f"{super().evolve(mutation).text}", 5, 7, 0.01)

    sources = [Prompt(number, f"Prompt {number} of rain.") for number in range(30)]
    spending = Spending(limits)
    chains = list(evolve_all(sources, Priced(), plan(), 4, spending))
    assert 9 <= sum(len(chain.attempts) for chain in chains) <= 9 + 3
    assert (spending.tokens, spending.cost_usd) == (12 * spending.attempts, pytest.approx(0.01 * spending.attempts))


def test_the_spending_of_an_earlier_driver_counts() -> None:
    sources = [Prompt(number, f"Prompt {number} of rain.") for number in range(30)]
    first = list(evolve_all(sources[:5], Writer(), plan(), 2))
    limits = SpendingLimits(max_attempts=25)
    rest = list(evolve_all(sources[5:], Writer(), plan(), 2, Spending(limits).resume(first)))
    assert sum(len(chain.attempts) for chain in rest) == 5
    spent = Spending(limits).resume([*first, *rest])
    assert spent.used_up and spent.tokens == 25 * 12
    assert list(evolve_all(sources[7:], Writer(), plan(), 2, spent)) == []


def test_chains_run_in_parallel_up_to_the_limit() -> None:
    together = threading.Barrier(4, timeout=10)

    class Slow(Writer):
        def evolve(self, mutation: Mutation) -> Reply:
            together.wait()
            return super().evolve(mutation)

    sources = [Prompt(number, f"Prompt {number} of rain.") for number in range(8)]
    found = list(evolve_all(sources, Slow(), plan(per_prompt=1), concurrency=4))
    assert sorted(chain.source for chain in found) == list(range(8))


def test_the_failure_of_an_evolver_reaches_the_caller() -> None:
    class Broken(Writer):
        def evolve(self, mutation: Mutation) -> Reply:
            raise EvolverError("the service is gone")

    with pytest.raises(EvolverError, match="the service is gone"):
        list(evolve_all([SOURCE], Broken(), plan(), concurrency=2))


def test_children_are_numbered_by_source_and_slot_whatever_their_order_of_arrival() -> None:
    sources = {number: Prompt(number, f"Prompt {number} of rain.", root=number) for number in (3, 9)}
    chains = [evolve_chain(source, Writer(), plan()) for source in sources.values()]
    one, other = number_children(chains, sources, 20, 1), number_children(chains[::-1], sources, 20, 1)
    assert one == other
    assert [child.number for child in one.children] == list(range(20, 28))
    assert [child.parent for child in one.children] == [3, 20, 21, 22, 9, 24, 25, 26]
    assert {child.root for child in one.children[4:]} == {9}
    assert [child.depth for child in one.children[:4]] == [1, 2, 3, 4]


def test_a_child_that_two_chains_wrote_counts_once_and_its_children_descend_from_the_first() -> None:
    sources = {number: Prompt(number, f"Prompt {number} of rain.", root=number) for number in (3, 9)}
    chains = [evolve_chain(source, Writer("The same child twice."), plan(per_prompt=2)) for source in sources.values()]
    offspring = number_children(chains, sources, 20, 1)
    assert [child.parent for child in offspring.children] == [3, 20, 20]
    assert offspring.duplicates == ((9, 0),) and offspring.places[9, 0] == 20


def test_a_child_that_nearly_equals_an_earlier_one_is_dropped_if_requested() -> None:
    long = " ".join(f"word{number}" for number in range(100))
    sources = {number: Prompt(number, f"Prompt {number} of rain.", root=number) for number in (3, 9)}
    chains = [
        evolve_chain(sources[3], Writer(long), plan(per_prompt=2, similarity=1.0, max_chars=5000)),
        evolve_chain(sources[9], Writer(f"{long} more"), plan(per_prompt=2, similarity=1.0, max_chars=5000)),
    ]
    offspring = number_children(chains, sources, 20, 1, similarity=0.9)
    assert offspring.children[0].text == long and offspring.duplicates[-1] == (9, 1)
    assert offspring.places[9, 0] == 20 == offspring.places[3, 0]
    assert len(number_children(chains, sources, 20, 1).children) == 4


def test_a_child_with_the_same_meaning_as_an_earlier_one_is_dropped_and_counted_separately() -> None:
    sources = {number: Prompt(number, f"Prompt {number} of rain.", root=number) for number in (3, 9)}
    chains = [
        evolve_chain(source, Writer(text), plan(per_prompt=2))
        for source, text in zip(sources.values(), ("A child.", "Another one."), strict=True)
    ]
    seen: list[str] = []

    def third_is_like_the_second(texts: Sequence[str], contexts: Sequence[Context]) -> list[int | None]:
        seen.extend(texts)
        assert len(contexts) == len(texts) == 4
        return [None, None, 1, None]

    offspring = number_children(chains, sources, 20, 1, same_meaning=third_is_like_the_second)
    assert seen == [attempt.reply.text for chain in chains for attempt in chain.accepted]
    assert (offspring.duplicates, offspring.alike) == ((), ((9, 0),))
    # what grew from it descends from its twin
    assert [child.parent for child in offspring.children] == [3, 20, 21] and offspring.places[9, 0] == 21
    assert number_children(chains, sources, 20, 1).alike == ()


@pytest.mark.parametrize(
    ("operator", "topic"),
    [("deepening", "water"), ("abstract", "water"), ("breadth", None), ("shift_in", None), ("shift_out", None)],
)
def test_a_child_has_its_parents_topic_unless_its_operator_leaves_it(operator: str, topic: str | None) -> None:
    source = Prompt(7, SOURCE.text, root=7, topic="water")
    first = Attempt(0, 0, operator, None, Reply("A first child about something."))
    second = Attempt(1, 0, "constraints", 0, Reply("Its own child, in a hundred words."))
    children = number_children([Chain(7, (first, second))], {7: source}, 8, 1).children
    assert [child.topic for child in children] == [topic, topic]


def test_a_lone_surrogate_in_a_reply_is_replaced_before_the_chain_goes_on() -> None:
    writer = Writer("A first child \ud83d with half an emoji.", "A second child \x00 with a NUL character inside.")
    chain = evolve_chain(SOURCE, writer, plan(per_prompt=2))
    texts = [attempt.reply.text for attempt in chain.accepted]
    assert texts == ["A first child \ufffd with half an emoji.", "A second child \ufffd with a NUL character inside."]
    assert writer.asked[1].text == texts[0]
