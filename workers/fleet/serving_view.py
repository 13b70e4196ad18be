"""The folder that an engine loads a checkpoint from.

When vLLM reloads a model with tied embeddings in place, it keeps the old LM head. So such a checkpoint is served
through a *view*: the same files, plus the head as a separate tensor.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from eva.errors import ModelError
from workers.models.model_folder import ModelFacts, inspect_model

# Architectures whose vLLM class has a separate head when `tie_word_embeddings` is false. Others (such as Gemma) are
# served as they are. An engine that a reload in place leaves with a stale head is opened anew: `workers.fleet.proof`.
UNTIABLE = frozenset(
    {
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
        "GraniteForCausalLM",
        "SmolLM3ForCausalLM",
        "Phi3ForCausalLM",
    }
)
_EMBEDDINGS, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_HEAD_FILE, _INDEX = "eva-lm-head.safetensors", "model.safetensors.index.json"


def serving_view(checkpoint_dir: str | Path, out_dir: str | Path, facts: ModelFacts | None = None) -> Path:
    """Returns a folder that serves the checkpoint and can be reloaded in place. `facts`: of its model, where known.

    That is `checkpoint_dir` itself if it is untied, or its architecture has no separate head. Otherwise `out_dir` is
    built, atomically: links to the same files, the head's tensor, an index, a config without tying. An existing
    `out_dir` is returned as it is.
    """
    source, target = Path(checkpoint_dir).resolve(), Path(out_dir)
    facts = facts or inspect_model(source)
    weight_map = _weight_map(source)
    untied = not facts.tied and _HEAD in weight_map
    if untied or facts.architecture not in UNTIABLE or _EMBEDDINGS not in weight_map:
        return source
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".view-", dir=target.parent))
        try:
            _build_view(source, building, weight_map)
            building.rename(target)
        except OSError:
            shutil.rmtree(building)
            if not target.exists():
                raise
        except BaseException:
            shutil.rmtree(building)
            raise
    return target


def _build_view(source: Path, out: Path, weight_map: dict[str, str]) -> None:
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    for file in source.iterdir():
        if file.is_file() and file.name not in ("config.json", _INDEX):
            (out / file.name).symlink_to(file)
    if _HEAD not in weight_map:
        # imports torch, which a driver otherwise never needs
        from safetensors.torch import save_file

        with safe_open(source / weight_map[_EMBEDDINGS], framework="pt") as shard:
            save_file({_HEAD: shard.get_tensor(_EMBEDDINGS)}, out / _HEAD_FILE)
        weight_map = {**weight_map, _HEAD: _HEAD_FILE}
    (out / _INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (out / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}, indent=2))


def _weight_map(folder: Path) -> dict[str, str]:
    """Name of each tensor -> name of the file that holds it."""
    index, single = folder / _INDEX, folder / "model.safetensors"
    if index.is_file():
        return dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    names: dict[str, str] = {}
    try:
        for file in [single] if single.is_file() else sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as shard:
                names.update(dict.fromkeys(shard.keys(), file.name))
    except SafetensorError as error:
        raise ModelError(
            f"a weight file in {folder} is damaged ({error})",
            expected="complete safetensors files",
            next_move="Copy the model again",
        ) from error
    return names
