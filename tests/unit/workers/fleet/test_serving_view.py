from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.support import tiny_models
from workers.fleet.serving_view import serving_view


@pytest.mark.parametrize("make", [tiny_models.llama, tiny_models.qwen2, tiny_models.qwen3])
def test_a_tied_checkpoint_is_served_with_a_separate_head(make: tiny_models.Maker, tmp_path: Path) -> None:
    folder = make(tmp_path / "model", tied=True)
    view = serving_view(folder, tmp_path / "views" / "one")
    assert json.loads((view / "config.json").read_text())["tie_word_embeddings"] is False
    index = json.loads((view / "model.safetensors.index.json").read_text())["weight_map"]
    with safe_open(view / index["lm_head.weight"], "pt") as head, safe_open(folder / "model.safetensors", "pt") as own:
        assert head.get_tensor("lm_head.weight").equal(own.get_tensor("model.embed_tokens.weight"))
    assert all((view / name).is_file() for name in index.values())
    assert (view / "tokenizer.json").is_file()
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is True


def test_a_view_does_not_copy_the_weights(tmp_path: Path) -> None:
    view = serving_view(tiny_models.llama(tmp_path / "model"), tmp_path / "view")
    assert (view / "model.safetensors").is_symlink()
    assert serving_view(tmp_path / "model", tmp_path / "view") == view


@pytest.mark.parametrize(("make", "tied"), [(tiny_models.llama, False), (tiny_models.gemma2, True)])
def test_an_untied_checkpoint_is_served_without_a_view(make: tiny_models.Maker, tied: bool, tmp_path: Path) -> None:
    folder = make(tmp_path / "model", tied=tied)
    assert serving_view(folder, tmp_path / "view") == folder.resolve()
    assert not (tmp_path / "view").exists()
