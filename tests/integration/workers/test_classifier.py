"""Zero-shot classifiers load models as they are published; a category depends on its prompt alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

from eva.config.evaluation import Categories
from eva.errors import ConfigError
from tests.support.tiny_models import CONTEXT, sentence_encoder, tokenizer
from workers.models.classifier import build_classifier, check_classifier
from workers.models.embedding import LocalEmbedder

TEXTS = ["Solve x + 1 = 2.", "Write a poem about the sea. " * 40, "Solve x + 1 = 2."]
MNLI = {"contradiction": 0, "neutral": 1, "entailment": 2}


def nli_model(folder: Path, labels: dict[str, int]) -> Path:
    """A tiny BERT with an MNLI head."""
    words = tokenizer(chat_template=False)
    shape = BertConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        label2id=labels,
        id2label={index: label for label, index in labels.items()},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = BertForSequenceClassification(shape)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def test_an_nli_model_gives_the_category_whose_hypothesis_it_entails_most(tmp_path: Path) -> None:
    folder = nli_model(tmp_path / "nli", MNLI)
    config = Categories(model=str(folder), names=("math", "writing", "coding"), hypothesis="It is about {}.")
    found = build_classifier(config).classify(TEXTS)
    model, words = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        # one pair at a time, without padding
        logits = [
            float(model(**words(TEXTS[0], f"It is about {name}.", return_tensors="pt")).logits[0, 2])
            for name in config.names
        ]
    shares = torch.softmax(torch.tensor(logits), 0)
    assert found[0].name == config.names[int(shares.argmax())]
    assert found[0].score == pytest.approx(float(shares.max()), abs=1e-5)
    assert found[0] == found[2], "the texts before it make no difference"
    assert "3 categories by BertForSequenceClassification" in check_classifier(config)


def test_a_sentence_encoder_gives_the_nearest_category(tmp_path: Path) -> None:
    folder = sentence_encoder(tmp_path / "encoder")
    config = Categories(kind="embedding", model=str(folder), names=("math", "writing"), hypothesis="About {}.")
    found = build_classifier(config).classify(TEXTS)
    embedder = LocalEmbedder(str(folder))
    text, *names = embedder.embed([TEXTS[0], "About math.", "About writing."])
    cosines = [float(text @ name / np.linalg.norm(text) / np.linalg.norm(name)) for name in names]
    assert found[0].name == config.names[int(np.argmax(cosines))] and found[0].score == pytest.approx(max(cosines))


def test_a_model_that_cannot_say_what_follows_is_refused_before_the_run(tmp_path: Path) -> None:
    folder = nli_model(tmp_path / "sentiment", {"negative": 0, "positive": 1})
    with pytest.raises(ConfigError, match="the labels negative, positive, and none of them is entailment"):
        check_classifier(Categories(model=str(folder)))
    with pytest.raises(ConfigError, match=r"categories\.model"):
        check_classifier(Categories(kind="embedding", model=str(tmp_path)))
