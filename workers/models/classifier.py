"""Zero-shot classifiers: which of the config's categories a prompt belongs to. torch is imported when one is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eva.config.evaluation import SLOT, Categories
from eva.errors import ConfigError
from eva.library_failures import first_line
from eva.roles import Classifier
from eva.runtime.user_functions import call_function, invalid_result, load_function
from eva.types import PromptCategory
from workers.models.embedding import LocalEmbedder, check_embedding_model
from workers.models.model_folder import resolve_model

KEY = "categories.model"
OWN, SIGNATURE = "classifier", "a function (text, names) that returns one of the names"
ENTAILMENT = "entail"


def build_classifier(config: Categories) -> Classifier:
    """Loads the classifier of a config. Raises ConfigError, or ModelError when the model cannot be fetched."""
    if config.kind == "function":
        return FunctionClassifier(str(config.function), config.names)
    folder = resolve_model(str(config.model))
    hypotheses = [config.hypothesis.replace(SLOT, name) for name in config.names]
    if config.kind == "embedding":
        return EmbeddingClassifier(LocalEmbedder(str(folder), KEY), config.names, hypotheses)
    return NliClassifier(folder, config.names, hypotheses)


def check_classifier(config: Categories) -> str:
    """Checks a classifier without loading its weights, and returns a line about it. Raises as `build_classifier`."""
    if config.kind == "function":
        load_function(str(config.function), what=OWN, expected=SIGNATURE, arguments=["text", "names"])
        return f"{len(config.names)} categories by {config.function}"
    folder = resolve_model(str(config.model))
    facts = check_embedding_model(str(folder), KEY)
    if config.kind == "nli":
        from transformers import AutoConfig

        _entailment(AutoConfig.from_pretrained(folder, local_files_only=True), folder)
    return f"{len(config.names)} categories by {facts.architecture}, {facts.parameters:,} parameters"


class NliClassifier:
    """Takes a prompt as premise and asks which category's hypothesis it entails most (Yin et al. 2019).

    Each prompt is a batch of its own, so that its category depends on its text alone. The score is the softmax over the
    categories' entailment logits.
    """

    def __init__(self, folder: Path, names: Sequence[str], hypotheses: Sequence[str]) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification

        from workers.models.chat_template import Prompting, load_tokenizer

        self._torch, self._names, self._hypotheses = torch, tuple(names), list(hypotheses)
        self._tokenizer = load_tokenizer(str(folder), Prompting("none"))
        try:
            self._model: Any = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
            ).eval()
        except Exception as error:  # transformers, tokenizers and safetensors raise anything
            raise ConfigError(
                f"{KEY} {folder} cannot be loaded: {first_line(error)}",
                expected="a complete model for natural language inference",
                next_move=f"Correct {KEY}",
            ) from error
        self._entailment = _entailment(self._model.config, folder)
        positions = getattr(self._model.config, "max_position_embeddings", None) or 10**9
        # tokenizers without a limit give a huge number
        self._limit = min(positions, self._tokenizer.model_max_length)

    def classify(self, texts: Sequence[str]) -> list[PromptCategory]:
        """Returns the category of each text. A text that is too long for the model is truncated."""
        with self._torch.inference_mode():
            return [self._classify(text) for text in texts]

    def _classify(self, text: str) -> PromptCategory:
        pairs = self._tokenizer(
            [text] * len(self._hypotheses),
            self._hypotheses,
            truncation="only_first",
            max_length=self._limit,
            padding=True,
            return_tensors="pt",
        )
        logits_C = self._model(**pairs).logits[:, self._entailment].double()
        shares_C = self._torch.softmax(logits_C, dim=0)
        best = int(shares_C.argmax())
        return PromptCategory(self._names[best], float(shares_C[best]))


class EmbeddingClassifier:
    """Takes the category whose hypothesis is nearest to the prompt. The score is the cosine."""

    def __init__(self, embedder: LocalEmbedder, names: Sequence[str], hypotheses: Sequence[str]) -> None:
        self._embedder, self._names = embedder, tuple(names)
        self._hypotheses_C_D = _directions(embedder.embed(hypotheses))

    def classify(self, texts: Sequence[str]) -> list[PromptCategory]:
        """Returns the category of each text."""
        cosines_T_C = _directions(self._embedder.embed(texts)) @ self._hypotheses_C_D.T
        best_T = cosines_T_C.argmax(axis=1).tolist()
        return [
            PromptCategory(self._names[best], float(row[best])) for row, best in zip(cosines_T_C, best_T, strict=True)
        ]


class FunctionClassifier:
    """The user's own function."""

    def __init__(self, spec: str, names: Sequence[str]) -> None:
        self._spec, self._names = spec, tuple(names)
        self._function: Callable[..., Any] = load_function(
            spec, what=OWN, expected=SIGNATURE, arguments=["text", "names"]
        )

    def classify(self, texts: Sequence[str]) -> list[PromptCategory]:
        """Returns the category of each text. Raises InputError if the function fails or returns no known name."""
        return [PromptCategory(self._category(text), None) for text in texts]

    def _category(self, text: str) -> str:
        category = call_function(self._spec, self._function, text, self._names, what=OWN, expected=SIGNATURE)
        if category not in self._names:
            raise invalid_result(self._spec, repr(category), what=OWN, expected=SIGNATURE)
        return str(category)


def _entailment(config: Any, folder: Path) -> int:
    """The index of the label that says that a hypothesis follows. Raises ConfigError for a model without one."""
    labels: dict[str, int] = getattr(config, "label2id", None) or {}
    found = [index for label, index in labels.items() if label.lower().startswith(ENTAILMENT)]
    if not found:
        raise ConfigError(
            f"{KEY} {folder} has the labels {', '.join(map(str, labels)) or '(none)'}, and none of them is entailment",
            expected="a model for natural language inference, such as facebook/bart-large-mnli",
            next_move=f"Choose another {KEY}, or set categories.kind to embedding",
        )
    return found[0]


def _directions(vectors_T_D: Any) -> Any:
    lengths_T = np.linalg.norm(vectors_T_D, axis=1, keepdims=True)
    return vectors_T_D / np.where(lengths_T > 0, lengths_T, 1.0)
