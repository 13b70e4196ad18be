"""A two-turn prompt at the real engine: what it reads is what the template makes, and what the trainer is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eva.types import Checkpoint, Message, Request, SamplingSettings
from workers.fleet.fleet import Fleet
from workers.models.chat_template import PromptEncoder, Prompting
from workers.training.rows import encode, read_pairs

TALK = (Message("system", "Be brief."), Message("user", "Name a river."), Message("assistant", "The Rhine."))
TEXT = "And a longer one?"
MESSAGES = [{"role": message.role, "content": message.content} for message in (*TALK, Message("user", TEXT))]


def test_the_engine_answers_the_very_tokens_that_the_training_row_has(
    fleet: Fleet, policies: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    fleet.load(policies[0])
    greedy = SamplingSettings(0.0, 1.0, 16)
    asked = [Request(0, TEXT, 1, 5, greedy, context=TALK), Request(1, TEXT, 1, 5, greedy)]
    talk, plain = sorted(fleet.generate(iter(asked)), key=lambda answered: answered.number)
    (answer,) = talk.responses
    row = {"prompt": TEXT, "chosen": answer.text, "rejected": "no", "chosen_cut": True, "context": MESSAGES[:-1]}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    encoder = PromptEncoder(policies[0].path, Prompting())
    (trained,) = encode(read_pairs(tmp_path / "pairs.jsonl"), encoder, max_length=256, end=2).rows

    tokenizer: Any = AutoTokenizer.from_pretrained(policies[0].path)
    prompt_ids = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert trained["prompt_ids"] == prompt_ids
    assert talk.prompt_tokens == len(prompt_ids) > plain.prompt_tokens == len(encoder.encode(TEXT))
    model: Any = AutoModelForCausalLM.from_pretrained(policies[0].path, dtype=torch.float32)
    with torch.no_grad():
        out = model.generate(torch.tensor([prompt_ids]), max_new_tokens=16, do_sample=False)[0, len(prompt_ids) :]
    assert answer.text == tokenizer.decode(out, skip_special_tokens=True), "the engine read other tokens"
    assert answer.text != plain.responses[0].text and talk.context == TALK
