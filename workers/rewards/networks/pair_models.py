"""Models that compare two responses: PairRM's ranker, and a causal LM that answers A or B."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from jinja2.exceptions import TemplateError
from torch import nn
from transformers import AutoModelForCausalLM

from eva.config import PairwiseReward
from eva.errors import ModelError
from eva.prompts.conversations import as_messages, transcript
from eva.types import Context
from workers.models.chat_template import Prompting, UnusablePromptError, load_tokenizer
from workers.rewards.model import Alive
from workers.rewards.networks.weights import in_batches, load_weights, padded

with warnings.catch_warnings():
    # transformers 5.19 compiles parts of DeBERTa by a deprecated call while it is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from transformers import DebertaV2Model, DebertaV2PreTrainedModel

SOURCE, FIRST, SECOND = "<|source|>", "<|candidate1|>", "<|candidate2|>"
PAIRRM_TOKENS = 2048
"""PairRM was trained with 1,224 tokens of prompt and 412 of each response."""
TURN = "\n\n<turn> {role}\n {content}"
QUESTION = "[CONTEXT] {context} [RESPONSE A] {first} [RESPONSE B] {second} \n"


@dataclass(frozen=True, slots=True)
class EncodedComparison:
    """An encoded comparison: its tokens, and the positions of PairRM's three marks."""

    ids: list[int]
    marks: tuple[int, int, int] = (0, 0, 0)


class PairModel(Protocol):
    """Compares a first and a second response to a prompt."""

    def encode(self, prompt: str, first: str, second: str, context: Context = ()) -> EncodedComparison:
        """Raises UnusablePromptError with the reason why these cannot be compared."""
        ...

    def logits(self, pairs: Sequence[EncodedComparison], alive: Alive) -> list[float]:
        """Returns for each pair the log-odds that the first response is preferred."""
        ...


class PairRanker(DebertaV2PreTrainedModel):
    """PairRM's network, with the parameter names of llm-blender/PairRM-hf (Jiang et al. 2023, "LLM-Blender")."""

    base_model_prefix = "pretrained_model"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        hidden, tasks = config.hidden_size, getattr(config, "n_tasks", 1)
        self.pretrained_model = DebertaV2Model(config)
        # The inactive dropout layers are needed: the checkpoint names the other layers by their positions.
        self.head_layer = nn.Sequential(
            nn.Dropout(0), nn.Linear(2 * hidden, hidden), nn.Tanh(), nn.Dropout(0), nn.Linear(hidden, tasks)
        )
        self.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
        """Returns f(source, first) - f(source, second), [batch]. `marks`, [batch, 3]: positions of the three marks."""
        hidden = self.pretrained_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        source, first, second = hidden[torch.arange(len(marks), device=hidden.device)[:, None], marks].unbind(1)
        scores = [self.head_layer(torch.cat([source, one], -1)) for one in (first, second)]
        return (scores[0] - scores[1]).mean(-1)


class PairRM:
    """Compares with PairRM. Prompt, first and second response each stand between [CLS] and [SEP], after a mark."""

    def __init__(self, folder: Path, config: PairwiseReward) -> None:
        self._tokenizer = load_tokenizer(str(folder), Prompting("none"))
        self._marks = [self._tokenizer.convert_tokens_to_ids(mark) for mark in (SOURCE, FIRST, SECOND)]
        if self._tokenizer.unk_token_id in self._marks or None in self._marks:
            raise ModelError(
                f"the tokenizer in {folder} does not know {SOURCE}, {FIRST} and {SECOND}",
                expected="the folder of llm-blender/PairRM-hf",
                next_move="Correct reward.model",
            )
        self._model = load_weights(PairRanker, folder, config)
        self._budget, self._limit = config.batch_tokens, config.max_length or PAIRRM_TOKENS
        # Each text of a prompt is part of many pairs.
        self._piece = lru_cache(maxsize=128)(self._tokenizer.encode)

    def encode(self, prompt: str, first: str, second: str, context: Context = ()) -> EncodedComparison:
        ids: list[int] = []
        places: list[int] = []
        texts = (transcript(prompt, context), first, second)
        for mark, name, text in zip(self._marks, (SOURCE, FIRST, SECOND), texts, strict=True):
            piece = self._piece(name + text)
            # The first mark is ours: a text that contains a mark must not move it.
            places.append(len(ids) + piece.index(mark))
            ids += piece
        return EncodedComparison(_bounded(ids, self._limit), (places[0], places[1], places[2]))

    def logits(self, pairs: Sequence[EncodedComparison], alive: Alive) -> list[float]:
        return in_batches(pairs, [len(pair.ids) for pair in pairs], self._budget, self._forward, alive)

    def _forward(self, pairs: Sequence[EncodedComparison]) -> list[float]:
        ids, mask = padded([pair.ids for pair in pairs], self._model.config.pad_token_id or 0)
        marks, device = torch.tensor([pair.marks for pair in pairs]), self._model.device
        with torch.inference_mode():
            return self._model(ids.to(device), mask.to(device), marks.to(device)).float().cpu().tolist()


class PairPreference:
    """Compares with RLHFlow's preference model, a causal LM that answers which response is better, A or B."""

    def __init__(self, folder: Path, config: PairwiseReward, positions: int | None) -> None:
        self._tokenizer = load_tokenizer(str(folder), Prompting("chat"))
        self._answers = [self._tokenizer.encode(letter, add_special_tokens=False) for letter in "AB"]
        if any(len(answer) != 1 for answer in self._answers):
            raise ModelError(
                f"the tokenizer in {folder} splits the letters A and B",
                expected="one token for each",
                next_move="Correct reward.model",
            )
        self._model = load_weights(AutoModelForCausalLM, folder, config)
        self._budget, self._limit = config.batch_tokens, config.max_length or positions

    def encode(self, prompt: str, first: str, second: str, context: Context = ()) -> EncodedComparison:
        turns = "".join(TURN.format(**message) for message in as_messages(prompt, context))
        question = QUESTION.format(context=f"{turns}\n", first=first, second=second)
        try:
            rendered = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
            )
            # RLHFlow reads the model without BOS.
            start = self._tokenizer.bos_token
            ids = self._tokenizer.encode(rendered.removeprefix(start or ""), add_special_tokens=False)
        except (TemplateError, ValueError, TypeError) as error:
            raise UnusablePromptError(f"cannot be encoded for the reward model: {error}") from error
        return EncodedComparison(_bounded(list(ids), self._limit))

    def logits(self, pairs: Sequence[EncodedComparison], alive: Alive) -> list[float]:
        return in_batches(pairs, [len(pair.ids) for pair in pairs], self._budget, self._forward, alive)

    def _forward(self, pairs: Sequence[EncodedComparison]) -> list[float]:
        # Padding on the left, so that every text ends in the last column.
        ids, mask = padded([pair.ids for pair in pairs], 0, left=True)
        places, device = (mask.cumsum(-1) - 1).clamp(min=0), self._model.device
        with torch.inference_mode():
            logits = self._model(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                position_ids=places.to(device),
                logits_to_keep=1,
                use_cache=False,
            ).logits
        first, second = (logits[:, -1, answer[0]].float() for answer in self._answers)
        return (first - second).cpu().tolist()


def _bounded(ids: list[int], limit: int | None) -> list[int]:
    if limit is not None and len(ids) > limit:
        raise UnusablePromptError(f"too long for the reward model: {len(ids)} tokens, at most {limit}")
    return ids
