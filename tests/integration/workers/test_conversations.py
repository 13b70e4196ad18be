"""A prompt that continues a conversation, at every reader: policy, trainer, reward models, evolvers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from eva.config import JudgeReward, MockReward, Model, PairwiseReward, PointwiseReward, VerifierReward
from eva.errors import ModelError
from eva.types import Context, Message, Mutation, Reply
from tests.support import reward_models, tiny_models
from workers.evolvers.evol_instruct import Rewriter
from workers.evolvers.instructions import CONVERSATION_CHARS, in_conversation
from workers.models.chat_template import PromptEncoder, Prompting, UnusablePromptError, require_conversations
from workers.rewards.judge import JudgeModel
from workers.rewards.mock import MockModel
from workers.rewards.model import RewardRequest
from workers.rewards.networks.pairwise import PairwiseModel
from workers.rewards.networks.pointwise import PointwiseModel
from workers.rewards.verifier import VerifierModel
from workers.training.rows import encode, read_pairs

TALK: Context = (Message("user", "Name a river."), Message("assistant", "The Rhine."))
WITH_SYSTEM: Context = (Message("system", "Be brief."), *TALK)
TEXT = "And a longer one?"
MESSAGES = [{"role": message.role, "content": message.content} for message in (*TALK, Message("user", TEXT))]
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{{ m.content }}{% endfor %}"
)
FUNCTIONS = "tests.support.reward_functions"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("policy"))


@pytest.mark.parametrize(
    ("context", "system_prompt", "begins"),
    [
        (TALK, None, []),
        (TALK, "Be kind.", [{"role": "system", "content": "Be kind."}]),
        (WITH_SYSTEM, None, [{"role": "system", "content": "Be brief."}]),
        # the prompt's own system message takes the place of the model's
        (WITH_SYSTEM, "Be kind.", [{"role": "system", "content": "Be brief."}]),
    ],
)
def test_the_model_reads_what_its_template_makes_of_the_messages(
    policy: Path, context: Context, system_prompt: str | None, begins: list[dict[str, str]]
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(policy)
    wanted = tokenizer.apply_chat_template(
        [*begins, *MESSAGES], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    ids = PromptEncoder(str(policy), Prompting(system_prompt=system_prompt)).encode(TEXT, context)
    assert ids == wanted and ids.count(tokenizer.bos_token_id) == 1


def test_a_training_row_has_the_conversation_as_the_engine_was_given_it(policy: Path, tmp_path: Path) -> None:
    encoder = PromptEncoder(str(policy), Prompting())
    pair = {"prompt": TEXT, "chosen": "The Nile.", "rejected": "No."}
    lines = [pair | {"context": MESSAGES[:2]}, pair]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    talking, plain = encode(read_pairs(tmp_path / "pairs.jsonl"), encoder, max_length=200, end=2).rows
    assert talking["prompt_ids"] == encoder.encode(TEXT, TALK)
    assert plain["prompt_ids"] == encoder.encode(TEXT) != talking["prompt_ids"]
    assert talking["chosen_ids"] == plain["chosen_ids"]


def test_without_a_template_messages_cannot_be_rendered(policy: Path) -> None:
    with pytest.raises(UnusablePromptError, match=r"model\.template is `none`"):
        PromptEncoder(str(policy), Prompting("none")).encode(TEXT, TALK)
    with pytest.raises(ModelError, match=r"template is `none`.*Set model\.template: chat"):
        require_conversations(policy, Model(path=str(policy), template="none"), [TALK])


@pytest.mark.parametrize(
    ("template", "contexts", "told"),
    [
        (NO_SYSTEM, [TALK, WITH_SYSTEM], "refuses the messages system, user, assistant, user.*no system"),
        (
            "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}",
            [WITH_SYSTEM],
            "leaves the system message out",
        ),
        ("{{ messages[-1].content }}", [TALK], "leaves the user message out"),
    ],
)
def test_a_template_that_cannot_render_a_conversation_is_an_error_before_anything_starts(
    policy: Path, tmp_path: Path, template: str, contexts: list[Context], told: str
) -> None:
    file = tmp_path / "t.jinja"
    file.write_text(template)
    with pytest.raises(ModelError, match=rf"{told}.*Set model\.chat_template"):
        require_conversations(policy, Model(path=str(policy), chat_template=str(file)), contexts)


def test_a_template_that_renders_every_order_of_roles_passes(policy: Path) -> None:
    contexts, model = [TALK, WITH_SYSTEM, TALK[:1]], Model(path=str(policy), system_prompt="Be kind.")
    require_conversations(policy, model, contexts)
    for context in contexts:
        rendered = PromptEncoder(str(policy), Prompting(system_prompt="Be kind.")).render(TEXT, context)
        assert all(message.content in rendered for message in context) and TEXT in rendered


def pointwise(folder: Path, **settings: object) -> PointwiseModel:
    return PointwiseModel(PointwiseReward.model_validate({"kind": "pointwise", "model": str(folder)} | settings))


@pytest.mark.parametrize("context", [TALK, WITH_SYSTEM])
def test_a_pointwise_model_reads_the_whole_conversation_through_its_own_template(
    tmp_path: Path, context: Context
) -> None:
    folder = reward_models.classifier(tmp_path)
    messages = [
        {"role": message.role, "content": message.content}
        for message in (*context, Message("user", TEXT), Message("assistant", "The Nile."))
    ]
    inputs: Any = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        messages, tokenize=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        network: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        wanted = network(input_ids=inputs["input_ids"]).logits[0].tolist()
    asked = [RewardRequest(TEXT, ("The Nile.",), context)]
    ((reward,),) = pointwise(folder, system_prompt=None if context is TALK else "Never read.").reward_many(
        asked, lambda: None
    )
    assert reward.value == pytest.approx(wanted[0], abs=1e-5)


def test_a_pairwise_model_reads_the_conversation(tmp_path: Path) -> None:
    folder = tiny_models.llama(tmp_path)
    model = PairwiseModel(PairwiseReward.model_validate({"kind": "pairwise", "model": str(folder)}))
    encoded: list[str] = []
    inner: Any = model._model  # pyright: ignore[reportPrivateUsage] - what it reads is what is tested
    for context in (TALK, ()):
        ids = inner.encode(TEXT, "The Nile.", "No.", context).ids
        encoded.append(inner._tokenizer.decode(ids))
    turns = "\n\n<turn> user\n Name a river.\n\n<turn> assistant\n The Rhine."
    last = f"\n\n<turn> user\n {TEXT}\n"
    assert f"[CONTEXT] {turns}{last} [RESPONSE A] The Nile." in encoded[0]
    assert f"[CONTEXT] {last} [RESPONSE A] The Nile." in encoded[1]


def test_the_judge_is_shown_the_conversation_between_its_marks() -> None:
    seen: list[str] = []

    def ask(message: str, _seed: int) -> Reply:
        seen.append(message)
        return Reply("none", 1, 1, 0.0)

    config = JudgeReward.model_validate({"kind": "judge", "model": "openai/m", "mode": "rating"})
    JudgeModel(config, ask).reward_many(
        [RewardRequest(TEXT, ("The Nile.",), TALK), RewardRequest(TEXT, ("No.",))], lambda: None
    )
    talk, plain = sorted(seen, key=len, reverse=True)
    assert f"PROMPT BEGINS\nUser: Name a river.\n\nAssistant: The Rhine.\n\nUser: {TEXT}\n" in talk
    assert f"PROMPT BEGINS\n{TEXT}\n" in plain


@pytest.mark.parametrize("function", ["with_context", "with_context_async"])
def test_a_users_function_gets_the_messages_if_it_has_a_parameter_for_them(function: str) -> None:
    model = VerifierModel(VerifierReward(kind="verifier", function=f"{FUNCTIONS}:{function}"))
    rewards = model.reward_many([RewardRequest(TEXT, ("y",), TALK), RewardRequest(TEXT, ("y",))], lambda: None)
    model.close()
    assert [reward.value for (reward,) in rewards] == [len("Name a river.") + len("The Rhine."), 0.0]


def test_a_users_function_of_two_arguments_gets_the_last_user_turn() -> None:
    model = VerifierModel(VerifierReward(kind="verifier", function=f"{FUNCTIONS}:length"))
    ((reward,),) = model.reward_many([RewardRequest(TEXT, ("yes",), TALK)], lambda: None)
    assert reward.value == len(TEXT) * 100 + 3


def test_mock_rewards_differ_between_conversations() -> None:
    model = MockModel(MockReward(kind="mock"))
    ((talk,), (plain,)) = model.reward_many(
        [RewardRequest(TEXT, ("y",), TALK), RewardRequest(TEXT, ("y",))], lambda: None
    )
    assert talk != plain


class Scribe:
    """A writer that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(self, message: str, seed: int) -> Reply:
        assert seed == 3
        self.asked.append(message)
        return Reply("And the longest in Asia?")


def test_a_writer_sees_the_conversation_and_rewrites_its_last_turn() -> None:
    scribe = Scribe()
    rewriter = Rewriter(scribe)
    rewriter.evolve(Mutation(TEXT, "deepening", 3, conversation=TALK))
    rewriter.evolve(Mutation(TEXT, "deepening", 3))
    talk, plain = scribe.asked
    assert talk.endswith(plain) and "#Conversation#:\nUser: Name a river.\n\nAssistant: The Rhine.\n" in talk
    assert "Rhine" not in plain and TEXT in plain


def test_a_long_conversation_is_shown_from_its_end() -> None:
    long = (Message("user", "first " + "x" * CONVERSATION_CHARS), Message("assistant", "last"))
    message = in_conversation("Rewrite.", long)
    assert "first" not in message and "[…] xxx" in message and "Assistant: last" in message
