"""The files of a checkpoint: weights, the other Hugging Face files, canary, training record."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from eva.config import Model, Training
from eva.solver.manifest import CANARY, MANIFEST, TRAINING
from eva.types import TrainingJob
from workers.models.attention import Attention, attention_arguments
from workers.models.chat_template import load_tokenizer, read_prompting
from workers.models.model_folder import BYTES, CHAT_TEMPLATE_FILE, ModelFacts, inspect_model
from workers.training.adapters.adapter_files import write_adapter
from workers.training.canary import tolerance, write_canary

_COMPANIONS = (".json", ".jinja", ".model", ".txt", ".tiktoken", ".md")
_OURS = (MANIFEST, CANARY, TRAINING)
# Small files are copied, so that editing the original model does not change a checkpoint.
_LINK_FROM_BYTES = 64 << 20


def load_policy(folder: str | Path, *, dtype: str = "float32", attention: Attention = "auto") -> Any:
    """Loads the causal LM of a folder on the CPU, in evaluation mode."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), local_files_only=True, **attention_arguments(config, attention)
    ).eval()


def stored_dtype(training: Training, policy_dtype: str, *, gpu: bool) -> str:
    """Returns the name of the precision in which trained weights are stored.

    DPO's updates (5e-7 a step) would vanish if every step were rounded to half precision, so training keeps float32
    weights on every device. Rounding once per iteration is common practice on GPUs and halves the disk space; the
    small models of a CPU are stored in full.
    """
    if training.checkpoint_dtype != "auto":
        return training.checkpoint_dtype
    return policy_dtype if gpu and policy_dtype in BYTES else "float32"


def copy_model(facts: ModelFacts, directory: Path, chat_template: str | None = None) -> None:
    """Copies the model's files unchanged. Large files are hard-linked where the file system allows it."""
    for name in facts.weight_files:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(facts.path / name, directory / name)
    copy_companions(facts.path, directory, index=True)
    if chat_template is not None:
        shutil.copyfile(chat_template, directory / CHAT_TEMPLATE_FILE)
        _edit_json(directory / "tokenizer_config.json", remove=("chat_template",))


def write_policy(policy: Any, source: Path, directory: Path, dtype: str) -> None:
    """Writes trained weights as safetensors (tied ones once), beside the other files of `source`, unchanged."""
    # transformers refuses to save some generation configs that it loads, so the original file is copied.
    policy.generation_config = GenerationConfig()
    try:
        policy.to(getattr(torch, dtype)).save_pretrained(directory)
    except SafetensorError as error:
        if f"os error {errno.ENOSPC}" in str(error):
            raise OSError(errno.ENOSPC, str(error)) from error
        raise
    (directory / "generation_config.json").unlink(missing_ok=True)
    copy_companions(source, directory, index=False)
    _edit_json(directory / "config.json", dtype=dtype)


def write_trained(
    policy: Any | None,
    update: Mapping[str, Any] | None,
    job: TrainingJob,
    training: Training,
    directory: Path,
    *,
    gpu: bool,
) -> None:
    """Writes what a job has trained into a checkpoint's folder: the weights, and the adapter with their update, where
    there is one. `policy`: None before the first step, when the job's policy is copied."""
    source = Path(job.policy.path)
    facts = inspect_model(source)
    if policy is None:
        copy_model(facts, directory)
        return
    dtype = stored_dtype(training, facts.dtype, gpu=gpu)
    write_policy(policy, source, directory, dtype)
    if update is not None:
        write_adapter(update, job, directory, dtype)


def move_files(source: Path, directory: Path) -> None:
    """Moves the files that `write_policy` wrote, inside one file system."""
    for file in sorted(source.iterdir()):
        file.rename(directory / file.name)


def write_record(directory: Path, record: dict[str, Any]) -> None:
    """Writes what the training did, without times and paths, so that equal trainings give equal bytes."""
    (directory / TRAINING).write_text(json.dumps(record))


def seal_with_canary(directory: Path, training: Training, model: Model, *, dtype: str, engines_on_gpu: bool) -> None:
    """Loads the files and records the canary, which also proves that they can be loaded."""
    tokenizer = load_tokenizer(str(directory), read_prompting(model))
    write_canary(
        directory,
        load_policy(directory),
        tokenizer,
        dtype=dtype,
        allowed=tolerance(training, model, engines_on_gpu=engines_on_gpu),
    )


def copy_companions(source: Path, directory: Path, *, index: bool) -> None:
    """Copies what stands beside the weights: configs, tokenizer, template; with `index` the list of weights as well."""
    for file in sorted(source.iterdir()):
        if not file.is_file() or file.suffix not in _COMPANIONS or file.name in _OURS:
            continue
        if index or not file.name.endswith(".index.json"):
            shutil.copyfile(file, directory / file.name)


def _link_or_copy(source: Path, target: Path) -> None:
    real = source.resolve()
    if real.stat().st_size >= _LINK_FROM_BYTES:
        try:
            os.link(real, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP):
                raise
        else:
            return
    shutil.copyfile(real, target)


def _edit_json(file: Path, *, remove: tuple[str, ...] = (), dtype: str | None = None) -> None:
    """Removes keys of a JSON file; sets its precision under the key that it uses."""
    if not file.is_file():
        return
    content = json.loads(file.read_text(encoding="utf-8"))
    content = {key: value for key, value in content.items() if key not in remove}
    if dtype is not None:
        content["torch_dtype" if "torch_dtype" in content else "dtype"] = dtype
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
