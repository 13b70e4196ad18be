"""The solver's sections: model, generation, pairs, training, fleet."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from eva.config.section import Section, one_of
from eva.solver.advantages import RULES
from eva.solver.losses import TRL_PREFIX, Length, Loss, check_loss_name, loss_facts, mixed_policies, takes_ranked
from eva.solver.pairs import CHOICES
from eva.types import SamplingSettings

ShardingChoice = Literal["auto", "fsdp2", "ddp", "none"]


class Model(Section):
    """The solver: the policy that the run aligns."""

    path: str
    """Folder of a Hugging Face causal LM, a hub id, or `playground` for the tiny model that comes with eva."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    template: Literal["chat", "none"] = "chat"
    """`chat` renders prompts with the tokenizer's chat template; `none` uses them as they are."""
    chat_template: str | None = None
    """A Jinja file to use instead of the tokenizer's own chat template."""
    system_prompt: str | None = None
    """A system message that is put before every prompt (needs a template with a system role)."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision in which the engines serve the model; `auto`: float32 on a CPU, the model's own elsewhere."""


class Generation(Section):
    """How the solver's responses are sampled (the paper's settings by default)."""

    n: int = Field(default=6, ge=2, le=1024)
    """Responses per prompt. The range of rewards grows with it, so compare runs at equal n."""
    temperature: float = Field(default=0.7, gt=0)
    """Sampling temperature."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    """Probability mass of nucleus sampling."""
    max_tokens: int = Field(default=2048, ge=1)
    """Limit on a response's tokens; responses that are cut there are flagged."""
    stream: int = Field(default=0, ge=0)
    """Another number gives the responses other random draws, with the same prompts: what changes is noise."""
    keep_cut: bool = False
    """Use responses that were cut at `max_tokens` for informativeness and training (they can fake a gap)."""

    @property
    def settings(self) -> SamplingSettings:
        """How each response is sampled."""
        return SamplingSettings(self.temperature, self.top_p, self.max_tokens)


class Pairs(Section):
    """pair: which two responses of a prompt the solver learns from."""

    choice: Annotated[
        str,
        one_of("choice of pairs", CHOICES, or_function=True),
        Field(json_schema_extra={"enum": [*CHOICES, "module:function"]}),
    ] = "best_vs_worst"
    """Rule by name (docs/reference/pairs.md), or your own function, rated -> (rows, chosen, rejected)."""
    min_margin: float = Field(default=0.0, ge=0)
    """Leave out pairs whose rewards differ by less than this."""
    length_ratio: float | None = Field(default=None, ge=1)
    """For length_controlled: how many times as many tokens as the shorter response the longer one may have; unset:
    1.25."""

    @model_validator(mode="after")
    def _possible(self) -> Pairs:
        if self.length_ratio is not None and self.choice in CHOICES and self.choice != "length_controlled":
            raise ValueError(
                f"length_ratio is {self.length_ratio:g}, but choice {self.choice} does not use lengths: allowed with "
                "length_controlled"
            )
        return self


class Lora(Section):
    """Low-rank adapters, trained instead of all weights and merged into the published checkpoint."""

    rank: int = Field(default=16, ge=1)
    """Rank of each adapted matrix's update."""
    alpha: int = Field(default=32, ge=1)
    """Scale: the update is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapters during training."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of the modules to adapt (such as q_proj), or all linear ones except the output layer."""
    serve: Literal["merged", "adapter"] = "merged"
    """What engines load: the `merged` weights, or on top of the first policy's the `adapter` alone, which a checkpoint
    then has beside them; it adds up the updates of all iterations."""


_ONLINE_KEYS = ("advantage", "length", "clip_low", "clip_high", "importance_cap", "kl", "stop_gap")


class Training(Section):
    """train: preference optimisation (DPO; the paper's settings by default), or a policy gradient."""

    loss: Annotated[str, AfterValidator(check_loss_name)] = "dpo"
    """Loss by name (docs/reference/losses.md): of preference pairs, or online (rloo, grpo, dr_grpo); TRL's own as
    `trl:NAME`, or your own `module:function`."""
    beta: float = Field(default=0.05, gt=0)
    """Strength of the pull towards the reference. For orpo, the paper's lambda; for simpo, the scale of its reward; for
    online losses, the coefficient of `kl`."""
    gamma: float = Field(default=0.5, ge=0)
    """For simpo: target margin in the units of its reward (the paper's gamma; a published ratio times `beta`)."""
    flip_rate: float = Field(default=0.0, ge=0, lt=0.5)
    """For rdpo, trl:robust and trl:exo_pair: share of preferences that point the wrong way; must be above 0."""
    length_alpha: float = Field(default=0.5, ge=0, le=1)
    """For ld_dpo: weight of the tokens beyond the length of the pair's shorter response; 1 is plain DPO."""
    divergence: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] = "reverse_kl"
    """f-divergence between policy and reference; all except reverse_kl trade reward for diversity."""
    divergence_alpha: float = Field(default=0.5, gt=0, lt=1)
    """Order of `alpha_divergence`: reverse KL towards 1, forward KL towards 0."""
    initial_share: float | None = Field(default=None, gt=0, le=1)
    """For inpo: the share of the pull that goes to the initial model (the paper's tau / eta); the rest goes to the
    previous policy. Unset: 1/3."""
    takes: Literal["pairs", "ranked"] | None = None
    """What your own loss takes: `pairs`, or `ranked`, all responses of a prompt's pairs, best first, with the
    log-probabilities of the initial model besides the reference's. Unset: pairs."""
    order: Literal["shuffled", "widest_first"] = "shuffled"
    """`widest_first` trains on pairs in the order of their margin, from easy to hard (Curry-DPO), and each further pass
    in the same order. With pairs.choice all_vs_best, that order runs over several pairs of each prompt."""
    win_rates: Literal["given", "bradley_terry"] | None = None
    """For sppo: `given` takes the rewards as win rates (the default for pairwise rewarders); `bradley_terry` derives
    them: P(i beats j) = sigmoid((reward i - reward j) / scale), averaged over all responses to the prompt, itself
    included."""
    win_rate_scale: Annotated[float, Field(gt=0)] | Literal["spread"] = 1.0
    """For `bradley_terry`: the scale of the rewards. 1 suits rewards that are logits of a preference; `spread` is the
    standard deviation of the rewards within a prompt, from the first batch."""
    advantage: Annotated[
        str | None,
        one_of("advantage", RULES, or_function=True),
        Field(json_schema_extra={"enum": [*RULES, "module:function", None]}),
    ] = None
    """For online losses: how a response's advantage follows from the rewards of its prompt's responses, by name, or
    your own function, rewards -> advantages; unset: as the loss has it."""
    length: Length | None = None
    """For online losses: how the tokens of a response count. `response`: one ratio for the whole response;
    `sequence_mean`: the mean over its tokens; `token_mean`: the mean over all tokens of a batch; `constant`: their sum
    over `generation.max_tokens`. Unset: as the loss has it."""
    clip_low: float = Field(default=0.2, gt=0, le=1)
    """For online losses: the ratio to the policy that sampled counts down to 1 less this."""
    clip_high: float = Field(default=0.2, gt=0)
    """For online losses: the ratio to the policy that sampled counts up to 1 plus this."""
    importance_cap: float | None = Field(default=2.0, ge=1)
    """For online losses: a token weighs as much more or less as the trainer finds it likelier than the engine did, up
    to this (truncated importance sampling). Null: no such weights."""
    kl: Literal["none", "reward", "loss"] = "none"
    """For online losses: where `beta` times the KL divergence from the reference goes. `reward`: off each response's
    reward; `loss`: onto the loss, by the k3 estimator."""
    stop_gap: float | None = Field(default=None, gt=0)
    """For online losses: pause the run if the log-probabilities of trainer and engine differ by more than this in a
    step, on average over its tokens (nats)."""
    stop_kl: float | None = Field(default=None, gt=0)
    """Pause the run if a step's `kl_k3` or `kl_reference` exceeds this (nats per response), for losses with a
    reference."""
    optimiser: Literal["adamw", "adamw_8bit", "rmsprop"] = "adamw"
    """Optimiser. Its state takes 8 bytes per trained parameter with adamw, 4 with rmsprop, 2 with adamw_8bit (needs
    torchao: the extra `low-memory`)."""
    lora: Lora | None = None
    """Low-rank adapters; unset: all weights are trained."""
    devices: int = Field(default=1, ge=1)
    """Devices that share each batch (GPUs if there are any, else processes), through Ray Train."""
    sharding: ShardingChoice = "auto"
    """What the devices share besides the batch. `fsdp2` divides weights, gradients and the optimiser's state among
    them; with `ddp` each device holds everything; `none` is one device. `auto`: fsdp2 for several GPUs, ddp for
    adapters and for several processes without a GPU."""
    offload: bool = False
    """For fsdp2: keep weights, gradients and the optimiser's state in main memory. Slower; it fits larger models."""
    activation_checkpointing: bool | None = None
    """Compute a layer's activations again in the backward pass instead of keeping them; unset: only on a GPU."""
    attention: Literal["auto", "flex", "flash", "eager"] = "auto"
    """How the trainer computes attention: `flex` (compiled by torch), `flash` (needs the package flash-attn), or
    `eager` (plain, and slow for long rows). All three honour the soft caps of Gemma 2. `auto`: torch's fused attention,
    but eager for models with soft caps, which that one would ignore."""
    reference_tokens: int | None = Field(default=None, ge=1)
    """Tokens in one forward pass of the reference, padding included; unset: 32,768 on a GPU, and on a CPU as many pairs
    as the policy takes."""
    learning_rate: float = Field(default=5e-7, gt=0)
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning-rate schedule after the warm-up."""
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps used for warm-up."""
    warmup_from: Literal["first_step", "zero"] = "first_step"
    """Where the warm-up begins: `first_step` gives the first of its w steps 1/w of the peak; with `zero`, as in
    transformers, the first step has the learning rate 0 and changes nothing."""
    epochs: float = Field(default=2, gt=0)
    """Passes over the pairs, or for online losses over the responses."""
    max_steps: int | None = Field(default=None, ge=1)
    """Exact number of optimiser steps, whatever the number of pairs (for comparisons at equal steps)."""
    step_limit: int | None = Field(default=None, ge=1)
    """At most this many optimiser steps in an iteration; fewer pairs give fewer. The schedule is laid out for the steps
    that are taken. With sync_every, each chunk may use its prompts' share of the limit, and what earlier ones left."""
    sync_every: int | None = Field(default=None, ge=1)
    """Hand the newest weights to the engines after this many optimiser steps (semi-online training): the batch is cut
    into chunks that are answered, paired and trained on one after the other. A multiple of `epochs`. Unset: once per
    iteration."""
    state_every: int | None = Field(default=None, ge=1)
    """For sync_every: store the trainer's state after every so many chunks, so that a killed iteration goes on from
    there. Unset: it trains on its stored chunks again from its start, and ends with the same weights."""
    keep_synced: bool = False
    """For sync_every: keep the weights that were handed over inside iterations, as folders beside the checkpoints."""
    batch: int = Field(default=8, ge=1)
    """Global batch in pairs, in prompts for losses over ranked responses, in responses for online losses:
    `per_device_batch` x devices x accumulation must equal this."""
    per_device_batch: int | None = Field(default=None, ge=1)
    """Pairs or responses per forward pass on one device; unset: `batch` on one device."""
    max_length: int = Field(default=2048, ge=2)
    """Limit on the tokens of prompt and response together; longer rows are dropped and counted, not cut."""
    max_prompt_length: int | None = Field(default=None, ge=1)
    """Limit on the prompt's tokens; unset: only `max_length` counts."""
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    """Second-moment decay of AdamW."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Norm at which gradients are clipped."""
    reference: Literal["previous", "initial"] = "previous"
    """Reference policy: the one at the start of the iteration, or the initial model."""
    mode: Literal["incremental", "scratch"] = "incremental"
    """`incremental` trains the last checkpoint on this batch; `scratch` trains the first one on all pairs so far."""
    canary_tolerance: float = Field(default=2e-3, gt=0)
    """How far a freshly opened engine may be from a canary's log-probabilities, nats per token: at most, in float32; in
    half precision 50 times as much on average."""
    checkpoint_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of stored weights; `auto`: float32 if trained on a CPU, the initial model's own on a GPU. Training
    itself always uses float32 weights; half precision rounds them once per iteration."""
    timeout_s: float = Field(default=1800.0, gt=0)
    """Restart a training job that makes no progress for this many seconds."""
    enabled: bool = True
    """Set it to false to publish the policy unchanged, as a control that shows what training contributes."""

    @model_validator(mode="after")
    def _possible(self) -> Training:
        loss = loss_facts(self.loss)
        if self.max_steps is not None and self.step_limit is not None:
            raise ValueError(
                f"max_steps is {self.max_steps} and step_limit is {self.step_limit}: the first is the exact number of "
                "steps, the second only limits it; unset one of them"
            )
        if self.divergence != "reverse_kl" and not loss.divergences:
            raise ValueError(
                f"loss {self.loss} does not support divergence {self.divergence}; use reverse_kl, or a loss such as dpo"
            )
        if loss.needs_flip_rate and self.flip_rate == 0:
            raise ValueError(f"loss {self.loss} needs a flip_rate above 0, for example 0.1")
        self._check_ranked()
        if self.win_rate_scale != 1 and self.win_rates != "bradley_terry":
            raise ValueError(
                f"win_rate_scale is {self.win_rate_scale}, but only win_rates bradley_terry uses it: set win_rates, or "
                "leave win_rate_scale out"
            )
        per_device = self.per_device_batch or max(1, self.batch // self.devices)
        noun = "responses" if loss.online else "pairs"
        if self.batch % (per_device * self.devices):
            raise ValueError(
                f"batch is {self.batch}, which is no multiple of {self.devices} device(s) x {per_device} {noun} = "
                f"{per_device * self.devices}: change batch or per_device_batch"
            )
        return self

    def _check_ranked(self) -> None:
        if self.takes is not None and (":" not in self.loss or self.loss.startswith(TRL_PREFIX)):
            raise ValueError(f"takes is {self.takes}, but loss {self.loss} is no function of yours: leave takes out")
        if self.initial_share is not None and self.loss != "inpo":
            raise ValueError(f"initial_share is {self.initial_share:g}, but loss {self.loss} does not use it")
        if self.loss == "inpo" and self.reference == "initial":
            raise ValueError(
                "reference is initial, but loss inpo compares with the previous policy and with the initial one: leave "
                "reference out"
            )
        if self.facts.optimistic and (self.reference == "initial" or self.mode == "scratch"):
            key, value = ("mode", self.mode) if self.mode == "scratch" else ("reference", self.reference)
            raise ValueError(
                f"{key} is {value}, but the reference of loss {self.loss} is made of the policies so far: leave {key} "
                "out"
            )
        if self.loss == "kto" and self.order != "shuffled":
            raise ValueError(f"order is {self.order}, but loss kto takes single responses, which have no margin")

    @property
    def ranked(self) -> bool:
        """Whether the loss takes ranked responses in place of pairs."""
        return takes_ranked(self.loss, self.takes)

    @property
    def compares_with_initial(self) -> bool:
        """Whether the loss is handed what the initial model says of its responses, besides the reference."""
        return self.facts.initial or self.takes == "ranked"

    def policies_needed(self, iteration: int) -> set[int]:
        """The numbers of the policies that the training of an iteration reads."""
        initial = self.compares_with_initial or self.reference == "initial" or self.mode == "scratch"
        earlier = mixed_policies(iteration) if self.facts.optimistic else ()
        return {iteration, *earlier, *([0] if initial else [])}

    @model_validator(mode="after")
    def _online(self) -> Training:
        loss = loss_facts(self.loss)
        if loss.online:
            self._check_online()
        elif unused := [key for key in _ONLINE_KEYS if getattr(self, key) != Training.model_fields[key].default]:
            raise ValueError(
                f"{', '.join(unused)} belong to online losses, and loss {self.loss} trains on preference pairs: leave "
                "them out, or use rloo, grpo or dr_grpo"
            )
        if loss.reference_free and self.stop_kl is not None:
            raise ValueError(f"stop_kl is {self.stop_kl:g}, but loss {self.loss} has no reference: leave it out")
        return self

    def _check_online(self) -> None:
        if self.win_rates is not None:
            raise ValueError(f"win_rates is {self.win_rates}, but loss {self.loss} takes rewards as they are: unset it")
        if self.order != "shuffled":
            raise ValueError(f"order is {self.order}, but loss {self.loss} has no pairs to order: leave it out")
        if self.mode == "scratch":
            raise ValueError(
                f"mode is scratch, but loss {self.loss} learns from the responses of the policy that it trains: use "
                "incremental"
            )
        if self.kl == "none" and self.reference == "initial":
            raise ValueError("reference is initial, but kl is none, so that no reference is used: set kl, or unset it")
        if self.kl == "reward" and self.reference == "previous" and self.sync_every is None:
            raise ValueError(
                "kl is reward, but the reference is the policy that samples, so that nothing would ever be taken off "
                "a reward: set reference to initial, kl to loss, or sync_every"
            )

    @property
    def facts(self) -> Loss:
        """What the loss needs."""
        return loss_facts(self.loss)

    @property
    def bounds(self) -> dict[str, float]:
        """The figures of a step that pause the run, with their bounds."""
        stops = {"gap": self.stop_gap, "kl_k3": self.stop_kl, "kl_reference": self.stop_kl}
        return {figure: bound for figure, bound in stops.items() if bound is not None}

    @property
    def advantage_rule(self) -> str:
        """The rule for advantages: the config's, or the loss's own."""
        return self.advantage or self.facts.advantage

    @property
    def length_handling(self) -> Length:
        """How a response's tokens count: as the config has it, or the loss."""
        return self.length or self.facts.length or "response"

    @model_validator(mode="after")
    def _shardable(self) -> Training:
        if self.sharding == "fsdp2" and (self.devices == 1 or self.lora is not None):
            adapters = " and adapters" if self.lora is not None else ""
            raise ValueError(
                f"sharding is fsdp2 with {self.devices} device(s){adapters}: it divides all weights among several "
                "devices; use auto"
            )
        if (self.sharding == "none" and self.devices > 1) or (self.sharding == "ddp" and self.devices == 1):
            raise ValueError(f"sharding is {self.sharding} with {self.devices} device(s); use auto")
        if self.offload and (self.devices == 1 or self.lora is not None or self.sharding == "ddp"):
            raise ValueError("offload needs sharding fsdp2, so several devices and no adapters")
        return self

    @model_validator(mode="after")
    def _synced(self) -> Training:
        every = self.sync_every
        if every is None:
            unused = [key for key in ("state_every", "keep_synced") if getattr(self, key)]
            if unused:
                raise ValueError(f"{unused[0]} is set, but sync_every is not: set sync_every, or unset {unused[0]}")
            return self
        if self.epochs != int(self.epochs) or every % int(self.epochs):
            raise ValueError(
                f"sync_every is {every} and epochs is {self.epochs:g}: a chunk is trained on in whole epochs, so "
                "sync_every must be a multiple of a whole number of epochs"
            )
        if self.mode == "scratch":
            raise ValueError(
                f"sync_every is {every} with mode scratch: such a training starts from the first policy, so there is "
                "no newest policy to answer the next chunk; use mode incremental"
            )
        if self.max_steps is not None:
            raise ValueError(
                f"max_steps is {self.max_steps} and sync_every is {every}: each chunk takes the steps of its own "
                "pairs, so their number cannot be given beforehand; use step_limit, which every chunk gets its share of"
            )
        if self.state_every is not None and self.optimiser == "adamw_8bit":
            raise ValueError(
                "state_every needs an optimiser whose state safetensors can hold: adamw or rmsprop, not adamw_8bit"
            )
        return self

    @property
    def chunk_rows(self) -> int | None:
        """How many pairs or responses a chunk has: those of `sync_every` steps over all epochs. None: batches stay
        whole."""
        if self.sync_every is None or not self.enabled:
            return None
        return self.sync_every // int(self.epochs) * self.batch

    def steps_on(self, rows: int) -> int:
        """Returns the optimiser steps on a chunk of this many pairs or responses."""
        return int(self.epochs) * math.ceil(rows / self.batch)

    def sharding_on(self, *, gpu: bool) -> Literal["fsdp2", "ddp", "none"]:
        """Returns what `auto` stands for on this kind of device."""
        if self.sharding != "auto":
            return self.sharding
        if self.devices == 1:
            return "none"
        return "fsdp2" if gpu and self.lora is None else "ddp"


class Fleet(Section):
    """The engines."""

    engines: int = Field(default=1, ge=1)
    """Number of vLLM engines."""
    window: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Prompts in flight per engine; `auto`: as many as have twice the sequences that the engine works on at once, so
    that it never waits for the next one."""
    gpus_per_engine: float = Field(default=0, ge=0)
    """GPUs per engine (tensor parallel if above 1); 0 serves on the CPU."""
    max_model_len: int | None = Field(default=None, ge=16)
    """Context length of the engines; unset: the model's own, limited to what prompts and responses need."""
    memory_fraction: float = Field(default=0.85, gt=0, le=1)
    """Share of a GPU's memory for an engine."""
    cpu_cache_gb: float = Field(default=1.0, gt=0)
    """Size of an engine's key-value cache on a CPU, in GB."""
    max_sequences: int | None = Field(default=None, ge=1)
    """Sequences that an engine works on at once; unset: 256 on a CPU, on a GPU what vLLM takes for offline use (256 to
    1,024, by the GPU)."""
    step_tokens: int | None = Field(default=None, ge=1)
    """Tokens that an engine computes in one step; unset: 4,096 on a CPU, and on a GPU what vLLM takes for offline use
    (8,192 or 16,384, by the GPU). A CPU takes at least the context's length."""
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    """Precision of the key-value cache on a GPU; `auto`: the model's own; `fp8` holds twice as much and rounds more."""
    enforce_eager: bool | None = None
    """Skip compilation; unset: only on a CPU."""
    restarts: int = Field(default=3, ge=0)
    """How often in a row, without a response in between, a dead engine is replaced before the stage goes on without it.
    Lost machines do not count. If no engine is left, the run pauses."""
    stall_s: float = Field(default=600.0, gt=0)
    """Replace an engine with requests in flight that finishes none for this many seconds."""
    start_s: float = Field(default=900.0, gt=0)
    """Replace an engine that needs longer than this many seconds to start or to load a policy. If no machine has room
    for an engine for this long, the run pauses."""
    backoff_s: float = Field(default=1.0, ge=0)
    """Pause before restarting an engine that died twice in a row; doubled after each further death, up to a minute."""
