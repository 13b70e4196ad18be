"""Raw logits of a pointwise reward model, computed by transformers or by vLLM."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from eva.config import PointwiseReward
from eva.errors import ModelError
from workers.rewards.model import Alive
from workers.rewards.networks.armorm import ArmoRM
from workers.rewards.networks.texts import Text
from workers.rewards.networks.weights import in_batches, load_weights, padded

# Texts per call of vLLM, so that the watchdog sees progress.
_PORTION = 64


class Logits(Protocol):
    """Computes raw logits, one row per text; one column if the network computes the reward itself."""

    def of(self, texts: Sequence[Text], alive: Alive) -> list[list[float]]: ...

    def close(self) -> None: ...


class ClassifierLogits:
    """Any `*ForSequenceClassification`, computed by transformers."""

    def __init__(self, folder: Path, config: PointwiseReward) -> None:
        self._model = load_weights(AutoModelForSequenceClassification, folder, config)
        self._settings = self._model.config.get_text_config()
        self._own_pad: int | None = self._settings.pad_token_id
        self._budget = config.batch_tokens

    def of(self, texts: Sequence[Text], alive: Alive) -> list[list[float]]:
        lengths = [len(text.ids) for text in texts]
        return in_batches(texts, lengths, self._budget, self._forward, alive)

    def close(self) -> None:
        del self._model

    def _forward(self, texts: Sequence[Text]) -> list[list[float]]:
        pad = self._pad([text.ids for text in texts])
        ids, mask = padded([text.ids for text in texts], pad)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if texts[0].types is not None:
            inputs["token_type_ids"], _ = padded([text.types or [] for text in texts], 0)
        with torch.inference_mode():
            logits = self._model(**{name: value.to(self._model.device) for name, value in inputs.items()}).logits
        return logits.float().cpu().tolist()

    def _pad(self, ids: Sequence[list[int]]) -> int:
        """Returns the padding token by which transformers finds the end of a text.

        A model without one gets a token that none of these texts ends with.
        """
        if self._own_pad is not None:
            return self._own_pad
        ends = {text[-1] for text in ids}
        self._settings.pad_token_id = next(token for token in range(len(ends) + 1) if token not in ends)
        return self._settings.pad_token_id


def without_padding(ids: list[int], pad: int | None) -> list[int]:
    """Returns a text as transformers' classifiers read it: up to the last token that is not padding.

    If the padding token also ends a turn, they read the token before it, while vLLM always reads the last one.
    """
    end = next((place for place in range(len(ids), 0, -1) if ids[place - 1] != pad), 1)
    return ids[:end]


class ArmoRMScores:
    """ArmoRM's mixed reward, computed by our port of its heads."""

    def __init__(self, folder: Path, config: PointwiseReward) -> None:
        self._model = load_weights(ArmoRM, folder, config)
        self._budget = config.batch_tokens

    def of(self, texts: Sequence[Text], alive: Alive) -> list[list[float]]:
        return in_batches(texts, [len(text.ids) for text in texts], self._budget, self._forward, alive)

    def close(self) -> None:
        del self._model

    def _forward(self, texts: Sequence[Text]) -> list[list[float]]:
        ids, mask = padded([text.ids for text in texts], 0)
        turns, device = torch.tensor([text.turn for text in texts]), self._model.device
        with torch.inference_mode():
            rewards = self._model(ids.to(device), mask.to(device), turns.to(device))
        return rewards.float().cpu()[:, None].tolist()


class PooledLogits:
    """A classifier served by vLLM in this process; vLLM's scheduler batches the texts."""

    def __init__(self, folder: Path, config: PointwiseReward, limit: int | None) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        from vllm import LLM, PoolingParams

        on_gpu = config.gpus > 0
        settings: dict[str, Any] = {
            "dtype": "float32" if config.dtype == "auto" and not on_gpu else config.dtype,
            "max_model_len": limit,
            "max_num_batched_tokens": max(config.batch_tokens, limit or 0),
            "trust_remote_code": config.trust_remote_code,
            "load_format": "safetensors",
            "disable_log_stats": True,
        }
        if on_gpu:
            settings |= {
                "gpu_memory_utilization": config.memory_fraction,
                "tensor_parallel_size": max(1, int(config.gpus)),
            }
        else:
            settings |= {"enforce_eager": True, "kv_cache_memory_bytes": 2**30}
        try:
            self._llm = LLM(model=str(folder), runner="pooling", convert="classify", **settings)
        except (ValueError, RuntimeError, OSError, MemoryError, AttributeError, TypeError) as error:
            why = (str(error).strip() or repr(error)).splitlines()[0]
            raise ModelError(
                f"vLLM could not load reward model {folder}: {why}",
                expected="a classifier of an architecture that vLLM serves, and memory for it",
                next_move="Set reward.backend: transformers",
            ) from error
        self._pad = (
            AutoConfig.from_pretrained(folder, trust_remote_code=config.trust_remote_code)
            .get_text_config()
            .pad_token_id
        )
        # Otherwise the pooler applies a sigmoid or softmax, which compresses the differences.
        self._raw = PoolingParams(use_activation=False)

    def of(self, texts: Sequence[Text], alive: Alive) -> list[list[float]]:
        rows: list[list[float]] = []
        for start in range(0, len(texts), _PORTION):
            alive()
            portion = [without_padding(text.ids, self._pad) for text in texts[start : start + _PORTION]]
            prompts: Any = [{"prompt_token_ids": ids} for ids in portion]
            answers = self._llm.classify(prompts, pooling_params=self._raw, use_tqdm=False)
            rows += [list(answer.outputs.probs) for answer in answers]
        return rows

    def close(self) -> None:
        self._llm.llm_engine.engine_core.shutdown()
