"""Facts of a model folder, read from its JSON and its weights' headers: no torch, no transformers."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eva.config import Model, RunConfig
from eva.errors import ModelError

PLAYGROUND = "playground"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.tiktoken")
_FOREIGN_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.gguf", "*.msgpack", "*.h5", "*.onnx")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I8": "int8",
    "U8": "uint8",
}
_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "max_seq_len")
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
# float32 weights, gradients, AdamW's two moments; and the reference's weights.
_TRAINING_BYTES = 4 + 4 + 8 + 4
# What passes through main memory on the way to a GPU: the weights of policy and reference.
_LOADING_BYTES = 4 + 4
_PROCESS_BYTES = 1_200_000_000
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts of a model folder. `dtype`: of most stored parameters; `bytes`: of its weights on disk."""

    path: Path
    architecture: str
    model_type: str
    dtype: str
    parameters: int
    bytes: int
    tied: bool
    max_positions: int | None
    vocab_size: int | None
    has_chat_template: bool
    weight_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Estimated bytes of main memory: needed by all engines and by the training, and available."""

    engines: int
    training: int
    available: int

    @property
    def needed(self) -> int:
        return self.engines + self.training


def resolve_model(path_or_id: str, revision: str | None = None, files: tuple[str, ...] = HUB_FILES) -> Path:
    """Returns the local folder of a model: a folder, "playground", or a hub id (downloads `files`, or uses the cache).

    Raises ModelError.
    """
    if path_or_id == PLAYGROUND:
        from workers.playground import MODEL_DIR

        return MODEL_DIR
    folder = Path(path_or_id).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if _HUB_ID.fullmatch(path_or_id):
        return _download(path_or_id, revision, files)
    raise ModelError(
        f"There is no model folder {path_or_id}",
        expected="a folder with a Hugging Face causal LM, a hub id, or `playground`",
        next_move="Correct model.path",
    )


def is_hub_id(path_or_id: str) -> bool:
    """Whether `resolve_model` would look for it on the hub."""
    if path_or_id == PLAYGROUND or Path(path_or_id).expanduser().is_dir():
        return False
    return _HUB_ID.fullmatch(path_or_id) is not None


def _download(hub_id: str, revision: str | None, files: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(files)))
    except GatedRepoError as error:
        raise _not_fetched(
            hub_id, "its licence has to be accepted", "Accept it on the model's page and set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise _not_fetched(hub_id, f"it has no revision {revision}", "Correct model.revision") from error
    except RepositoryNotFoundError as error:
        raise _not_fetched(
            hub_id,
            "there is no such folder, and the hub does not know it",
            "Correct model.path, or set HF_TOKEN if the model is private",
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, ConnectionError, OSError) as error:
        raise _not_fetched(
            hub_id,
            "it is no folder here and the hub cannot be reached",
            "Correct model.path, connect, or give the folder of a downloaded model",
        ) from error


def _not_fetched(hub_id: str, why: str, next_move: str) -> ModelError:
    return ModelError(
        f"Model {hub_id!r} cannot be fetched: {why}",
        expected="a local folder, a hub id, or `playground`",
        next_move=next_move,
    )


def inspect_model(path: Path) -> ModelFacts:
    """Returns the facts of a model folder. Raises ModelError if the folder, config, weights or tokenizer is missing."""
    if not path.is_dir():
        raise ModelError(
            f"There is no model folder {path}",
            expected="a folder with a Hugging Face causal LM",
            next_move="Correct model.path",
        )
    _refuse_adapters(path)
    config = _read_json(path, "config.json")
    files = _weight_files(path)
    if not any((path / name).is_file() for name in _TOKENIZERS):
        raise ModelError(
            f"{path} has no tokenizer",
            expected=f"one of {', '.join(_TOKENIZERS)}",
            next_move="Save the tokenizer there with `AutoTokenizer.save_pretrained`",
        )
    tensors: dict[str, Any] = {}
    for file in files:
        tensors.update(_header(path / file))
    return _facts(path, config, files, tensors)


def _refuse_adapters(path: Path) -> None:
    """Raises ModelError for a folder that holds low-rank adapters in place of a model."""
    if (path / "config.json").is_file() or not (path / "adapter_config.json").is_file():
        return
    base = _read_json(path, "adapter_config.json").get("base_model_name_or_path") or "its base model"
    raise ModelError(
        f"{path} holds low-rank adapters (adapter_config.json), not a model",
        expected=f"the folder of a whole causal LM: the adapters merged into {base}",
        next_move=f"Merge them: load {base}, then `PeftModel.from_pretrained(base, {str(path)!r}).merge_and_unload()` "
        "and `save_pretrained` into a new folder, with the tokenizer",
    )


def require_template(facts: ModelFacts, model: Model) -> None:
    """Raises ModelError if prompts cannot be rendered as `model.template` says."""
    if model.template == "none":
        if model.system_prompt is not None:
            raise ModelError(
                "model.system_prompt is set, but model.template is `none`",
                expected="a chat template that supports the role `system`",
                next_move="Set model.template: chat, or remove model.system_prompt",
            )
        return
    if model.chat_template is not None:
        if not Path(model.chat_template).is_file():
            raise ModelError(
                f"model.chat_template names {model.chat_template}, which is not a file",
                expected="a Jinja file",
                next_move="Correct model.chat_template",
            )
    elif not facts.has_chat_template:
        raise ModelError(
            f"{facts.path} has no chat template, but model.template is `chat`",
            expected=f"{CHAT_TEMPLATE_FILE} or `chat_template` in tokenizer_config.json",
            next_move="Set model.template: none, or model.chat_template: FILE",
        )


def memory_need(facts: ModelFacts, config: RunConfig) -> MemoryNeed:
    """Estimates the main memory for engines and training, and what is available.

    Engines on GPUs count only as processes. Activations are left out, as they depend on the rows.
    """
    engine = _PROCESS_BYTES
    if config.fleet.gpus_per_engine == 0:
        dtype = "float32" if config.model.dtype == "auto" else config.model.dtype
        engine += facts.parameters * BYTES[dtype] + int(config.fleet.cpu_cache_gb * 1e9)
    training = _PROCESS_BYTES
    if config.training.enabled:
        on_gpu = config.fleet.gpus_per_engine > 0
        training += facts.parameters * (_LOADING_BYTES if on_gpu else _TRAINING_BYTES)
    return MemoryNeed(config.fleet.engines * engine, training, available_memory())


def require_memory(facts: ModelFacts, config: RunConfig) -> None:
    """Raises ModelError if engines and training do not fit into the available memory."""
    need = memory_need(facts, config)
    if need.needed > need.available:
        raise ModelError(
            f"Too little memory for {facts.path}: {need.needed / 1e9:.1f} GB are needed "
            f"(engines {need.engines / 1e9:.1f}, training {need.training / 1e9:.1f}), "
            f"{need.available / 1e9:.1f} GB are available",
            next_move="Use a smaller model, fewer fleet.engines or less fleet.cpu_cache_gb, or free memory",
        )


def available_memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int:
    """Returns the bytes that can still be allocated on the machine, or in the container if that is less."""
    match = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
    free = int(match[1]) * 1024 if match else 0
    limits = (
        (cgroup / "memory.max", cgroup / "memory.current", cgroup / "memory.stat", "inactive_file"),
        (
            cgroup / "memory" / "memory.limit_in_bytes",
            cgroup / "memory" / "memory.usage_in_bytes",
            cgroup / "memory" / "memory.stat",
            "total_inactive_file",
        ),
    )
    for limit, used, stat, reclaimable in limits:
        if limit.is_file() and (value := limit.read_text().strip()).isdigit():
            cached = re.search(rf"^{reclaimable} (\d+)", stat.read_text(), re.MULTILINE)
            free = min(free, int(value) - int(used.read_text()) + (int(cached[1]) if cached else 0))
    return max(free, 0)


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        return json.loads((path / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} has no {name}",
            expected="the folder of a Hugging Face causal LM",
            next_move="Use a folder that `save_pretrained` wrote",
        ) from error
    except ValueError as error:
        raise ModelError(f"{path / name} is not JSON: {error}", next_move="Fetch or save the model again") from error


def _weight_files(path: Path) -> tuple[str, ...]:
    """Returns the safetensors files that loaders would read, relative to the folder."""
    if (path / "model.safetensors").is_file():
        return ("model.safetensors",)
    index = "model.safetensors.index.json"
    if (path / index).is_file():
        named = tuple(sorted(set(_read_json(path, index).get("weight_map", {}).values())))
        absent = [name for name in named if not (path / name).is_file()]
        if not absent and named:
            return named
        raise ModelError(
            f"{path} lacks {absent[0] if absent else 'weights'}, which its {index} names",
            next_move="Fetch or save the model again",
        )
    foreign = [file.name for pattern in _FOREIGN_WEIGHTS for file in sorted(path.glob(pattern))]
    if foreign:
        raise ModelError(
            f"{path} holds its weights in {foreign[0]}",
            expected="model.safetensors",
            next_move="Convert them: load with `AutoModelForCausalLM.from_pretrained`, then "
            "`save_pretrained` into a new folder",
        )
    raise ModelError(
        f"{path} has no weights",
        expected="model.safetensors",
        next_move="Fetch or save the model again, with its weights",
    )


def _header(file: Path) -> Mapping[str, Any]:
    """Reads a safetensors file's header: tensor name -> {dtype, shape, data_offsets}."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size - 8:
                raise ValueError("its header is cut")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = max((row["data_offsets"][1] for row in header.values()), default=0)
        if file.stat().st_size != 8 + length + end:
            raise ValueError(f"it has {file.stat().st_size} bytes instead of {8 + length + end}")
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{file} is not a complete safetensors file: {error}", next_move="Fetch or save the model again"
        ) from error
    return header


def _facts(path: Path, config: dict[str, Any], files: tuple[str, ...], tensors: Mapping[str, Any]) -> ModelFacts:
    text = {**config, **config.get("text_config", {})}
    parameters: dict[str, int] = {}
    for row in tensors.values():
        parameters[row["dtype"]] = parameters.get(row["dtype"], 0) + math.prod(row["shape"])
    stored = max(parameters, key=lambda name: parameters[name], default="F32")
    no_head = not any(name.endswith(_HEADS) for name in tensors)
    return ModelFacts(
        path=path,
        architecture=(config.get("architectures") or ["unknown"])[0],
        model_type=config.get("model_type", "unknown"),
        dtype=_DTYPES.get(stored, stored),
        parameters=sum(parameters.values()),
        bytes=sum((path / file).stat().st_size for file in files),
        # Older configs omit the flag if it is the class's default. Then the weights decide.
        tied=bool(config.get("tie_word_embeddings", no_head)),
        max_positions=next((int(text[key]) for key in _POSITIONS if text.get(key)), None),
        vocab_size=text.get("vocab_size"),
        has_chat_template=_has_chat_template(path),
        weight_files=files,
    )


def _has_chat_template(path: Path) -> bool:
    if (path / CHAT_TEMPLATE_FILE).is_file() or (path / "chat_template.json").is_file():
        return True
    return (path / "tokenizer_config.json").is_file() and bool(
        _read_json(path, "tokenizer_config.json").get("chat_template")
    )
