"""Measures the peak memory of one rank of a training job on fake tensors: no GPU, no weights, a single process.

What is measured is what runs: transformers' model, TRL's chunked head, and accelerate's division of the weights among a
group that exists in name only. Only the bytes are real.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_apply_ac, fsdp2_prepare_model
from peft import PeftModel
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import AutoModelForCausalLM, PretrainedConfig
from trl.kernels import chunked_logprob
from trl.trainer.utils import add_fused_lm_head

from eva.config import Training
from workers.training.policies import add_adapters, layer_classes

_OUTPUTS = ("log_probs", "entropy", "mean_logits", "is_top1")
_TOTAL = "Total"
_STATES = {"adamw": 8, "adamw_8bit": 2, "rmsprop": 4}


@dataclass(frozen=True)
class Measured:
    """Bytes: the peak of a forward and backward pass, weights and gradients included, and the optimiser's state."""

    step: int
    optimiser: int

    @property
    def peak(self) -> int:
        return self.step + self.optimiser


def measure(config: PretrainedConfig, training: Training, *, attention: str) -> Measured:
    """Returns the peak of one rank with rows of `training.max_length` tokens, its optimiser's state included."""
    sharded = training.sharding_on(gpu=True) == "fsdp2"
    pairs = training.per_device_batch or max(1, training.batch // training.devices)
    if sharded:
        torch.distributed.init_process_group("fake", rank=0, world_size=training.devices, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", (training.devices,)) if sharded else None
        plain = _plain(config, training, attention)
        with FakeTensorMode(allow_non_fake_inputs=True), _kernels_of_a_gpu():
            _place(plain)
            model = _prepared(plain, training, mesh)
            ids = torch.randint(0, config.get_text_config().vocab_size, (2 * pairs, training.max_length))
            passes = 2 if training.batch > pairs * training.devices else 1
            return Measured(_peak(model, ids, passes), _state(model, training))
    finally:
        if sharded:
            torch.distributed.destroy_process_group()


def _plain(config: PretrainedConfig, training: Training, attention: str) -> Any:
    """Returns the model, with adapters if the job has them, on the device that has no memory."""
    dtype = torch.float32 if training.lora is None else torch.bfloat16
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
        add_fused_lm_head(model, outputs=_OUTPUTS)
        if training.lora is not None:
            model = add_adapters(model, training.lora)
    return model.train()


def _place(model: Any) -> None:
    """Gives the model fake tensors in place of those without memory."""
    for module in model.modules():
        for name, weights in list(module.named_parameters(recurse=False)):
            fake = torch.empty(weights.shape, dtype=weights.dtype)
            setattr(module, name, torch.nn.Parameter(fake, weights.requires_grad))
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype), persistent=False)
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    plain.tie_weights()


def _prepared(model: Any, training: Training, mesh: DeviceMesh | None) -> Any:
    """Returns the model as accelerate prepares it: divided, or computing in half precision by autocast."""
    checkpointing = training.activation_checkpointing is not False
    if mesh is None:
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)
        return model
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=layer_classes(model),
        reshard_after_forward=True,
        activation_checkpointing=checkpointing,
        mixed_precision_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32),
    )
    accelerator: Any = types.SimpleNamespace(
        state=types.SimpleNamespace(fsdp_plugin=plugin),
        mixed_precision="no",
        is_main_process=True,
        torch_device_mesh={("all",): mesh},
        parallelism_config=types.SimpleNamespace(fsdp_dim_names=("all",)),
    )
    plugin.set_auto_wrap_policy(model)
    if checkpointing:
        model = fsdp2_apply_ac(accelerator, model)
    return fsdp2_prepare_model(accelerator, model)


class _Tracker(MemTracker):
    """torch's tracker, for frozen weights as well: it tells apart no gradients, and their bytes count all the same.

    It keeps the peak of the whole model alone. torch's keeps one for each module, and looks at all of them after every
    operation, which is most of the time that a large model takes.
    """

    def _update_peak_stats(self, peak_state: Any) -> None:
        del peak_state
        for device, snapshot in self._curr_mem_snap.items():
            total = snapshot[_TOTAL]
            if self._peak_mem.get(device, 0) < total:
                self._peak_mem[device] = total
                self._peak_mem_snap[device] = dict(snapshot)

    def _track_module_params_and_buffers(self, module: torch.nn.Module, install_grad_hooks: bool = True) -> Any:
        del install_grad_hooks
        return super()._track_module_params_and_buffers(module, install_grad_hooks=False)


def _peak(model: Any, ids: torch.Tensor, passes: int) -> int:
    tracker = _Tracker()
    tracker.track_external(model, ids)
    with tracker:
        # A step of several passes has the gradients of the earlier ones while the next one is at its peak.
        for _ in range(passes):
            output = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)
            output.log_probs.sum().backward()
            del output
            tracker.reset_mod_stats()
    return max(max(snapshot.values()) for snapshot in tracker.get_tracker_snapshot("peak").values())


def _state(model: Any, training: Training) -> int:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    local = sum((weights.to_local() if hasattr(weights, "to_local") else weights).numel() for weights in trained)
    return local * _STATES[training.optimiser]


@contextmanager
def _kernels_of_a_gpu() -> Iterator[None]:
    """On a GPU, kernels fold each tile of logits in place; their substitutes on a CPU copy it many times."""

    def in_place(*_arguments: Any, **_more: Any) -> None:
        """Takes no memory."""

    names = ("_forward_tile", "_backward_tile", "_addmm_fp32")
    kept = {name: getattr(chunked_logprob, name) for name in names}
    for name in names:
        setattr(chunked_logprob, name, in_place)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(chunked_logprob, name, function)
