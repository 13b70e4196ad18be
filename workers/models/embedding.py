"""Texts as vectors: the mean over the last hidden state of a local model in the transformers layout.

torch and transformers are imported only when a model is loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eva.errors import ConfigError, ModelError
from eva.types import Floats
from workers.models.model_folder import ModelFacts, inspect_model

KEY = "novelty.embedding_model"
_UNUSED = "pooler."
"""Weights after the last hidden state, which sentence encoders are stored without."""


def check_embedding_model(path: str, key: str = KEY) -> ModelFacts:
    """Returns facts of the folder without loading the model. Raises ConfigError without safetensors and a tokenizer.

    `key` names the config's key that holds the path, for errors.
    """
    try:
        return inspect_model(Path(path).expanduser())
    except ModelError as error:
        raise ConfigError(
            f"{key}: {error.given}",
            expected="a local folder of a sentence encoder or language model, in safetensors",
            next_move=error.next_move.replace("model.path", key),
        ) from error


class LocalEmbedder:
    """An `eva.roles.Embedder` on the CPU, in float32. Thread-safe; the model's own code is never run.

    Texts are embedded one by one, so that a vector depends only on its text and not on its batch: a resumed run makes
    the same decisions. The constructor raises ConfigError if the model cannot be loaded.
    """

    def __init__(self, path: str, key: str = KEY) -> None:
        facts = check_embedding_model(path, key)
        import torch
        from transformers import AutoModel

        from workers.models.chat_template import Prompting, load_tokenizer

        self._torch, self._lock = torch, threading.Lock()
        self._tokenizer = load_tokenizer(str(facts.path), Prompting("none"))
        self._model = _loaded(AutoModel, torch, facts.path, key)
        # Tokenizers without a limit give a huge number.
        self._limit = min(facts.max_positions or 10**9, self._tokenizer.model_max_length)

    def embed(self, texts: Sequence[str]) -> Floats:
        """Returns vectors of shape (T, D). Texts that are too long for the model are truncated."""
        with self._lock, self._torch.inference_mode():
            return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> Floats:
        ids = self._tokenizer.encode(text, truncation=True, max_length=self._limit)
        if not ids:
            return np.zeros(self._model.config.hidden_size)
        hidden = self._model(input_ids=self._torch.tensor([ids])).last_hidden_state
        return hidden[0].mean(dim=0).double().numpy()


def _loaded(network: Any, torch: Any, folder: Path, key: str) -> Any:
    try:
        model, info = network.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers, tokenizers and safetensors raise anything
        why = (str(error).strip() or repr(error)).splitlines()[0]
        raise ConfigError(
            f"{key} {folder} cannot be loaded: {why}",
            expected="a complete model that the installed transformers supports",
            next_move=f"Correct {key}",
        ) from error
    absent = sorted(name for name in info["missing_keys"] if not name.startswith(_UNUSED))
    if absent or model.config.is_encoder_decoder:
        what = f"lacks {len(absent)} weights, for example {absent[0]}" if absent else "is an encoder with a decoder"
        raise ConfigError(
            f"{key} {folder} {what}",
            expected="a complete sentence encoder or causal language model",
            next_move=f"Correct {key}",
        )
    return model.eval()
