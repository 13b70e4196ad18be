"""Texts as vectors, by a local model in the transformers layout: the mean over its last hidden state.

torch and transformers are imported when a model is loaded: a run without one does without them here.
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

_UNUSED = "pooler."
"""Weights behind the last hidden state: sentence encoders are stored without them."""


def check_embedding_model(path: str) -> ModelFacts:
    """What the folder holds, without loading it: safetensors and a tokenizer, or ConfigError."""
    try:
        return inspect_model(Path(path).expanduser())
    except ModelError as error:
        raise ConfigError(
            f"novelty.embedding_model: {error.given}",
            expected="a local folder of a sentence encoder or language model, in safetensors",
            next_move=error.next_move.replace("model.path", "novelty.embedding_model"),
        ) from error


class LocalEmbedder:
    """`eva.roles.Embedder` on this process's CPU, in float32; the model's own code is never run. Safe in threads.

    Texts pass the model one by one, so that a vector depends on its text alone and not on what it was batched with:
    a resumed run decides as the interrupted one would have. Raises ConfigError when the model cannot be loaded.
    """

    def __init__(self, path: str) -> None:
        facts = check_embedding_model(path)
        import torch
        from transformers import AutoModel

        from workers.models.chat_template import Prompting, load_tokenizer

        self._torch, self._lock = torch, threading.Lock()
        self._tokenizer = load_tokenizer(str(facts.path), Prompting("none"))
        self._model = _loaded(AutoModel, torch, facts.path)
        # Tokenizers that know no limit give a huge number.
        self._limit = min(facts.max_positions or 10**9, self._tokenizer.model_max_length)

    def embed(self, texts: Sequence[str]) -> Floats:
        """The vectors, shape (T, D). What is longer than the model reads counts by its beginning."""
        with self._lock, self._torch.inference_mode():
            return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> Floats:
        ids = self._tokenizer.encode(text, truncation=True, max_length=self._limit)
        if not ids:
            return np.zeros(self._model.config.hidden_size)
        hidden = self._model(input_ids=self._torch.tensor([ids])).last_hidden_state
        return hidden[0].mean(dim=0).double().numpy()


def _loaded(network: Any, torch: Any, folder: Path) -> Any:
    try:
        model, told = network.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, ImportError) as error:
        why = (str(error).strip() or repr(error)).splitlines()[0]
        raise ConfigError(
            f"novelty.embedding_model {folder} cannot be loaded: {why}",
            expected="a model that the installed transformers knows, with all its weights",
            next_move="Correct novelty.embedding_model",
        ) from error
    absent = sorted(name for name in told["missing_keys"] if not name.startswith(_UNUSED))
    if absent or model.config.is_encoder_decoder:
        what = f"lacks {len(absent)} weights, {absent[0]} for one" if absent else "is an encoder with a decoder"
        raise ConfigError(
            f"novelty.embedding_model {folder} {what}",
            expected="a whole sentence encoder or causal language model",
            next_move="Correct novelty.embedding_model",
        )
    return model.eval()
