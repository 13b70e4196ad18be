"""A run whose prompts continue conversations, on fakes with a real store: every stage sees them, a killed run too."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from eva.config import PointwiseReward
from eva.errors import ModelError
from eva.roles import Roles
from eva.settings import Settings
from eva.types import Context, Message, Mutation, PromptResponses, Reply, RewardedResponses
from orchestrator.driver import drive
from orchestrator.launch.material import read_material
from orchestrator.launch.preflight import check_run
from orchestrator.launch.registration import register_run
from store.game import heldout, prompts
from store.game.contexts import ROLE_TOKENS, longest_context
from store.game.pairs import iter_pairs_with_texts
from store.rows import RunRow
from store.runs import events, runs
from store.session import Store
from tests.support import reward_models
from tests.support.decisions import fingerprint_of
from tests.support.fakes import (
    Died,
    FakeEvolver,
    FakeGenerator,
    FakeRewarder,
    Recorder,
    always,
    fake_config,
    fake_roles,
)

SYSTEM = "You are a patient teacher."


def talk(number: int) -> list[dict[str, str]]:
    """Half of them with a system message; each ends with an answer, as data for supervised training does."""
    begins = [{"role": "system", "content": SYSTEM}] if number % 2 else []
    return [
        *begins,
        {"role": "user", "content": f"Tell me of river {number}."},
        {"role": "assistant", "content": f"River {number} is long."},
        {"role": "user", "content": f"And its source, number {number}?"},
        {"role": "assistant", "content": "Hills."},
    ]


def context_of(number: int) -> Context:
    messages = [Message(message["role"], message["content"]) for message in talk(number)[:-2]]
    return tuple(messages)


@dataclass
class SeeingRewarder(FakeRewarder):
    """Remembers the context of every prompt."""

    seen: dict[str, Context] = field(default_factory=dict)

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        def watched() -> Iterator[PromptResponses]:
            for one in prompts:
                self.seen[one.text] = one.context
                yield one

        yield from super().reward(watched())


@dataclass
class SeeingEvolver(FakeEvolver):
    seen: set[tuple[str, Context]] = field(default_factory=set)

    def evolve(self, mutation: Mutation) -> Reply:
        self.seen.add((mutation.text, mutation.conversation))
        return super().evolve(mutation)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    rows: list[Any] = [{"messages": talk(number)} for number in range(16)]
    rows += [{"prompt": f"Plain {number}?"} for number in range(8)]
    # equal text and messages are one prompt; an equal text behind other messages is another
    rows += [{"messages": talk(3)}, {"messages": [*talk(4)[:2], *talk(3)[-2:]]}]
    # held out below, with another system message
    rows.append({"messages": [{"role": "system", "content": "Other."}, *talk(90)]})
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "held.jsonl").write_text("".join(json.dumps({"messages": talk(number)}) + "\n" for number in (90, 91)))
    return {"seeds": str(tmp_path / "seeds.jsonl"), "held": str(tmp_path / "held.jsonl")}


@pytest.fixture
def config(files: dict[str, str]) -> Any:
    return fake_config(prompts={"path": files["seeds"]}, evaluation={"sets": {"talks": files["held"]}}, iterations=2)


@pytest.fixture
def play(store: Store, tmp_path: Path, config: Any) -> Callable[..., RunRow]:
    settings = Settings(data_dir=tmp_path, database_url=None, ray_address=None)

    def played(run: RunRow | None = None, roles: Roles | None = None, listener: Recorder | None = None) -> RunRow:
        found = run or register_run(store, config)
        with store.transaction() as conn:
            found = runs.get_run(conn, found.id)
        drive(store, settings, found, listener or Recorder(), build=always(roles or fake_roles()), ttl_s=60.0)
        return found

    return played


def test_equal_conversations_are_merged_cut_ends_counted_and_held_out_questions_left_out(config: Any) -> None:
    material = read_material(config)
    assert len(material.seeds) == 16 + 8 + 1
    assert material.left_out == {"repeated": 1, "held_out": 1}
    assert material.cut == {"answers behind the last user turn": 16 + 2 + 1}
    assert material.seeds[1].context == context_of(1) and material.seeds[1].text == "And its source, number 1?"
    assert [prompt.context for prompt in material.held_out["talks"]] == [context_of(90), context_of(91)]


def test_the_check_before_a_run_renders_every_order_of_roles(config: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="refuses the messages system, user, assistant, user: the playground knows"):
        check_run(config)
    template = tmp_path / "t.jinja"
    template.write_text("{% for message in messages %}{{ message.content }}{% endfor %}")
    model = config.model.model_copy(update={"chat_template": str(template)})
    lines = check_run(config.model_copy(update={"model": model})).checks
    assert "19 rows were cut: answers behind the last user turn" in lines
    assert any("19 prompts with messages before them" in line for line in lines)
    reward = PointwiseReward(kind="pointwise", model=str(reward_models.classifier(tmp_path / "reward")))
    (tmp_path / "reward" / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    with pytest.raises(ModelError, match=r"reward leaves the .* message out.*Set the reward's template to none"):
        check_run(config.model_copy(update={"model": model, "reward": reward}))


def test_every_stage_sees_the_conversation_and_children_inherit_it(
    store: Store, play: Callable[..., RunRow], tmp_path: Path
) -> None:
    rewarder, evolver, generator = SeeingRewarder(), SeeingEvolver(), FakeGenerator()
    run = play(roles=fake_roles(rewarder=rewarder, evaluator=rewarder, evolver=evolver, generator=generator))
    with store.transaction() as conn:
        family = {prompt.number: prompt for prompt in prompts.read_prompts(conn, run.id)}
        first = [event for event in events.events_after(conn, run.id, 0) if event.kind == "registered"]
        longest = longest_context(conn, run.id, 64)
        pairs = list(iter_pairs_with_texts(conn, run.id, 1))
        contexts = heldout.read_heldout_contexts(conn, run.id, "talks")
    seeds = [prompt for prompt in family.values() if prompt.parent is None]
    children = [prompt for prompt in family.values() if prompt.parent is not None]
    assert children and all(child.context == family[child.root].context for child in children)
    assert any(child.context for child in children) and any(not child.context for child in children)
    assert first[0].data["cut"] == {"answers behind the last user turn": 19}
    assert longest == max(sum(len(m.content) + ROLE_TOKENS for m in prompt.context) for prompt in seeds)
    assert contexts == {0: context_of(90), 1: context_of(91)}
    by_text = {prompt.text: prompt.context for prompt in family.values() if "number 3?" not in prompt.text}
    assert all(rewarder.seen[text] == context for text, context in by_text.items() if text in rewarder.seen)
    assert {context for text, context in evolver.seen} <= {prompt.context for prompt in seeds}
    assert any(context for _, context in evolver.seen)
    rendered = "Assistant: River 2 is long.\n\nUser: And its source, number 2?"
    assert any(rendered in text for _, text, _ in generator.asked)
    assert pairs and all(pair.context == family[pair.number].context for pair in pairs)
    (file,) = tmp_path.glob("runs/*/driver-*/jobs/pairs-1.jsonl")
    for row in map(json.loads, file.read_text().splitlines()):
        context = [{"role": m.role, "content": m.content} for m in family[row["number"]].context]
        assert row.get("context", []) == context
        assert ("context" in row) == bool(context), "a plain prompt's row is what it always was"


def test_mix_takes_no_partner_that_answers_earlier_turns_and_shows_the_sources_own(
    store: Store, files: dict[str, str], tmp_path: Path
) -> None:
    config = fake_config(
        prompts={"path": files["seeds"]},
        evaluation={"sets": {"talks": files["held"]}},
        iterations=2,
        sampling={"fraction": 1.0},
        evolving={"evolver": {"kind": "evol_instruct", "model": "openai/m"}, "operators": ["mix"]},
    )
    asked: list[Mutation] = []

    class Mixing(FakeEvolver):
        def evolve(self, mutation: Mutation) -> Reply:
            asked.append(mutation)
            return super().evolve(mutation)

    drive(
        store,
        Settings(tmp_path, None, None),
        register_run(store, config),
        Recorder(),
        build=always(fake_roles(evolver=Mixing())),
        ttl_s=60.0,
    )
    assert {mutation.partner for mutation in asked} == {f"Plain {number}?" for number in range(8)}
    assert any(mutation.conversation for mutation in asked)


@pytest.mark.parametrize("stage", ["judge_pool", "evolve", "judge_batch"])
def test_a_killed_run_of_conversations_ends_as_if_nothing_had_happened(
    store: Store, play: Callable[..., RunRow], config: Any, stage: str
) -> None:
    def die(iteration: int, closed: str) -> None:
        if (iteration, closed) == (1, stage):
            raise Died

    undisturbed = play()
    killed = register_run(store, config)
    with pytest.raises(Died):
        play(killed, listener=Recorder(on_close=die))
    play(killed)
    assert fingerprint_of(store, killed) == fingerprint_of(store, undisturbed)
