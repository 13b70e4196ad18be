"""Embeddings of a tiny encoder and a tiny language model against mean pooling written out; models that are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from eva.errors import ConfigError
from tests.support import tiny_models
from workers.models.embedding import LocalEmbedder, check_embedding_model

TEXTS = ["Name a fruit.", "Why is the sky blue, and the sea too?", "x", "ß 漢字"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.sentence_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("causal"))


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_a_vector_is_the_mean_of_the_last_hidden_state(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    found = LocalEmbedder(str(folder)).embed(TEXTS)
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        expected = [
            model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy() for text in TEXTS
        ]
    assert found == pytest.approx(np.array(expected), abs=1e-5)
    assert found.shape == (4, 64) and len({*map(tuple, found.tolist())}) == 4


def test_a_vector_depends_on_its_text_alone_to_the_last_bit(encoder: Path) -> None:
    embedder = LocalEmbedder(str(encoder))
    together = embedder.embed(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        assert np.array_equal(embedder.embed([text])[0], vector)
    assert np.array_equal(LocalEmbedder(str(encoder)).embed(TEXTS[::-1])[::-1], together)


def test_a_text_that_is_too_long_is_truncated(encoder: Path) -> None:
    embedder = LocalEmbedder(str(encoder))
    long, longer = embedder.embed(["a" * 400, "a" * 400 + "b" * 400])
    assert np.array_equal(long, longer)


def test_a_pooler_is_neither_needed_nor_used(encoder: Path, tmp_path: Path) -> None:
    with_pooler = tiny_models.sentence_encoder(tmp_path, pooler=True)
    assert LocalEmbedder(str(with_pooler)).embed(TEXTS).shape == LocalEmbedder(str(encoder)).embed(TEXTS).shape


def test_missing_weights_and_other_formats_are_refused(tmp_path: Path) -> None:
    folder = tiny_models.sentence_encoder(tmp_path / "a")
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("encoder.layer.1.output.dense.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 weights, for example encoder\.layer\.1\.output"):
        LocalEmbedder(str(folder))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"novelty\.embedding_model: .*pytorch_model\.bin"):
        check_embedding_model(str(folder))


def test_a_folder_without_a_model_is_refused_by_name(tmp_path: Path, encoder: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no model folder .*nothing.*Correct novelty\.embedding_model"):
        check_embedding_model(str(tmp_path / "nothing"))
    odd = tmp_path / "odd"
    odd.mkdir()
    for file in encoder.iterdir():
        (odd / file.name).write_bytes(file.read_bytes())
    (odd / "config.json").write_text(json.dumps({"model_type": "no-such-network", "auto_map": {"AutoModel": "m.M"}}))
    (odd / "m.py").write_text("raise SystemExit('its code ran')")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        LocalEmbedder(str(odd))


def test_torch_is_imported_only_when_a_model_is_loaded() -> None:
    script = (
        "import sys, workers.models.embedding, orchestrator.stages.earlier_prompts;"
        "print({'torch', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
