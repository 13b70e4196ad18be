"""The committed solver: standard files, the text that rewards expect, and the accuracy it came with."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from workers.playground import MODEL_DIR, make_model
from workers.playground.architecture import (
    MAX_NEW_TOKENS,
    MAX_TOKENS,
    build_model,
    build_tokenizer,
    render_chat,
)
from workers.playground.make_model import draw_batch, save, train
from workers.playground.measure import accuracy, load
from workers.playground.random_tasks import draw_task
from workers.playground.tasks import heldout
from workers.playground.world import solve

EXAMPLE = "Take k d b p: reverse, then sort, then add c."


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(MODEL_DIR)


def test_the_folder_holds_the_standard_files_and_weighs_at_most_five_megabytes() -> None:
    names = {path.name for path in MODEL_DIR.iterdir()}
    standard = "config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json"
    assert names == {*standard.split(), "README.md"}
    assert sum(path.stat().st_size for path in MODEL_DIR.iterdir()) < 5_000_000


def test_every_answer_survives_being_tokenised_and_decoded(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = random.Random(0)
    for _ in range(200):
        answer = solve(draw_task(rng.randint(1, 6), rng.randint(1, 14), rng))
        assert tokenizer.decode(tokenizer.encode(answer)) == answer


def test_a_leading_blank_as_vllm_writes_it_changes_no_token(tokenizer: PreTrainedTokenizerFast) -> None:
    answer = "reverse : p b d k"
    with_blank, without = render_chat(tokenizer, EXAMPLE, f" {answer}"), render_chat(tokenizer, EXAMPLE, answer)
    assert tokenizer.encode(with_blank) == tokenizer.encode(without)


def test_the_longest_chat_fits_the_model(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = f"Take {' '.join('a' * 14)}: {', then '.join(['replace a b'] * 6)}."
    longest = "replace a b : " + " ".join("a" * 20)
    asked = len(tokenizer.encode(render_chat(tokenizer, prompt)))
    assert len(tokenizer.encode(" ; ".join([longest] * 6))) < MAX_NEW_TOKENS
    assert asked + MAX_NEW_TOKENS <= MAX_TOKENS


def test_the_chat_template_gives_one_bos_and_extends_the_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [{"role": "user", "content": EXAMPLE}, {"role": "assistant", "content": "reverse : p b d k"}]
    template: Any = tokenizer.apply_chat_template
    asked = template(chat[:1], add_generation_prompt=True, return_dict=True)["input_ids"]
    whole = template(chat, return_dict=True)["input_ids"]
    assert asked.count(tokenizer.bos_token_id) == 1
    assert whole[: len(asked)] == asked
    assert whole[-1] == tokenizer.eos_token_id
    assert tokenizer.unk_token_id not in whole
    assert tokenizer.padding_side == "left"


def test_any_tool_loads_the_solver_and_it_answers() -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_DIR)
    chat = [{"role": "user", "content": "Take k d b p: reverse."}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    tokens = model.generate(**inputs, do_sample=False)
    answer = tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer == "reverse : p b d k"


def test_the_committed_solver_masters_easy_prompts_and_gives_up_on_hard_ones() -> None:
    model, tokenizer = load(str(MODEL_DIR))
    sets = heldout(seed=0, per_set=40)
    found = {name: accuracy(model, tokenizer, prompts) for name, prompts in sets.items()}
    assert found["easy"] > 0.9
    assert 0.1 < found["medium"] < 0.7
    assert found["hard"] < 0.3


def two_steps() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    torch.manual_seed(4)
    model, tokenizer = build_model(), build_tokenizer()
    train(model, tokenizer, steps=2, seed=4)
    return model, tokenizer


def test_the_same_seed_trains_the_same_weights_and_they_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_model, "BATCH", 16)
    torch.manual_seed(4)
    untrained = build_model().state_dict()
    (first, _), (second, tokenizer) = two_steps(), two_steps()
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert not any(torch.equal(value, untrained[name]) for name, value in first.state_dict().items())
    save(first, tokenizer, tmp_path)
    loaded, _ = load(str(tmp_path))
    assert torch.equal(loaded.lm_head.weight, first.lm_head.weight.float())


def test_only_the_response_and_its_end_are_labelled() -> None:
    tokenizer = build_tokenizer()
    for tokens_B_T, labels_B_T in draw_batch(tokenizer, random.Random(0)):
        for tokens, labels in zip(tokens_B_T, labels_B_T, strict=True):
            taught = labels != -100
            assert torch.equal(labels[taught], tokens[taught])
            asked = tokens[~taught & (tokens != tokenizer.pad_token_id)]
            assert str(tokenizer.decode(asked)).endswith(". <assistant>")
            assert labels[taught][-1] == tokenizer.eos_token_id
