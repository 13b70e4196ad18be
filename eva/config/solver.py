"""The solver's sections: model, generation, pairs, training, evaluation, fleet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from eva.config.rewards import RewardConfig
from eva.config.section import Section, one_of
from eva.solver.losses import check_loss_name, loss_facts
from eva.solver.pairs import CHOICES

INITIAL = "initial"
"""Instead of a file of a baseline's answers: the given model's own."""


class Model(Section):
    """The solver: the policy that the run aligns."""

    path: str
    """Folder of a Hugging Face causal LM, a hub id, or `playground` for the committed tiny model."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    template: Literal["chat", "none"] = "chat"
    """`chat` renders prompts with the tokenizer's chat template; `none` hands them over as they are."""
    chat_template: str | None = None
    """A Jinja file to use instead of the tokenizer's own chat template."""
    system_prompt: str | None = None
    """A system message put before every prompt (needs a template that knows the role)."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision that the engines serve in; `auto`: float32 on a CPU, the model's own elsewhere."""


class Generation(Section):
    """How the solver answers (the paper's settings by default)."""

    n: int = Field(default=6, ge=2, le=1024)
    """Responses per prompt. The range of rewards grows with it: compare runs at equal n."""
    temperature: float = Field(default=0.7, gt=0)
    """Sampling temperature."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    """Nucleus sampling mass."""
    max_tokens: int = Field(default=2048, ge=1)
    """Response tokens at most; responses cut there are flagged."""
    keep_cut: bool = False
    """Let responses cut at `max_tokens` count for informativeness and pairs (they fake a gap)."""


class Pairs(Section):
    """pair: which two responses of a prompt the solver learns from."""

    choice: Annotated[
        str,
        one_of("choice of pairs", CHOICES, or_function=True),
        Field(json_schema_extra={"enum": [*CHOICES, "module:function"]}),
    ] = "best_vs_worst"
    """Rule, by name (docs/reference/pairs.md), or a function of yours, rated -> rows, chosen, rejected."""
    min_margin: float = Field(default=0.0, ge=0)
    """Pairs whose rewards differ by less than this are left out."""
    length_ratio: float | None = Field(default=None, ge=1)
    """length_controlled: a pair's longer response has at most so many times the tokens of its shorter; unset: 1.25."""

    @model_validator(mode="after")
    def _possible(self) -> Pairs:
        if self.length_ratio is not None and self.choice in CHOICES and self.choice != "length_controlled":
            raise ValueError(
                f"length_ratio is {self.length_ratio:g}, but choice {self.choice} does not look at "
                "lengths: allowed with length_controlled"
            )
        return self


class Lora(Section):
    """Train low-rank adapters instead of all weights; the published checkpoint has them merged in."""

    rank: int = Field(default=16, ge=1)
    """Rank of the update of each adapted matrix."""
    alpha: int = Field(default=32, ge=1)
    """Scale: the update counts alpha / rank times."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in front of the adapters while training."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of the adapted modules (such as q_proj), or all linear ones but the output layer."""


class Training(Section):
    """train: preference optimisation (DPO; the paper's settings by default)."""

    loss: Annotated[str, AfterValidator(check_loss_name)] = "dpo"
    """Preference loss, by name (docs/reference/losses.md), TRL's own as `trl:NAME`, or `module:function`."""
    beta: float = Field(default=0.05, gt=0)
    """Strength of the pull towards the reference; orpo: the paper's lambda; simpo: the scale of its reward."""
    gamma: float = Field(default=0.5, ge=0)
    """simpo: target margin, in its reward's units (the paper's gamma; a published ratio times `beta`)."""
    flip_rate: float = Field(default=0.0, ge=0, lt=0.5)
    """rdpo, trl:robust, trl:exo_pair: share of the preferences that point the wrong way; they need one above 0."""
    length_alpha: float = Field(default=0.5, ge=0, le=1)
    """ld_dpo: weight of the tokens beyond the length of the pair's shorter response; 1 is plain DPO."""
    divergence: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] = "reverse_kl"
    """f-divergence between policy and reference; others than reverse_kl trade reward for diversity."""
    divergence_alpha: float = Field(default=0.5, gt=0, lt=1)
    """Order of `alpha_divergence`: towards 1 the reverse KL, towards 0 the forward KL."""
    win_rates: Literal["given", "bradley_terry"] | None = None
    """sppo: `given` takes the rewards as win rates (unset does so for pairwise rewarders); `bradley_terry` derives
    them: P(i beats j) = sigmoid(reward i - reward j), averaged over the responses of the prompt, itself included."""
    optimiser: Literal["adamw", "rmsprop"] = "adamw"
    """Optimiser; rmsprop needs half the state."""
    lora: Lora | None = None
    """Low-rank adapters; unset: all weights are trained."""
    devices: int = Field(default=1, ge=1)
    """Devices that share each batch (GPUs where there are some, else processes), through Ray Train."""
    learning_rate: float = Field(default=5e-7, gt=0)
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning-rate schedule after the warm-up."""
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps spent warming up."""
    epochs: float = Field(default=2, gt=0)
    """Passes over the pairs."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps exactly, whatever the number of pairs (for controls at equal steps)."""
    batch: int = Field(default=8, ge=1)
    """Global batch in pairs: `per_device_batch` x devices x accumulation must give exactly this."""
    per_device_batch: int | None = Field(default=None, ge=1)
    """Pairs per forward pass on one device; unset: `batch` on one device."""
    max_length: int = Field(default=2048, ge=2)
    """Tokens of prompt and response together; longer rows are dropped and counted, not cut."""
    max_prompt_length: int | None = Field(default=None, ge=1)
    """Tokens of the prompt alone, at most; unset: only `max_length` counts."""
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    """Second-moment decay of AdamW."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradient clipping."""
    reference: Literal["previous", "initial"] = "previous"
    """Reference policy: the one at the start of the iteration, or the given model."""
    mode: Literal["incremental", "scratch"] = "incremental"
    """`incremental` trains the last checkpoint on this batch; `scratch` the first on all pairs so far."""
    canary_tolerance: float = Field(default=2e-3, gt=0)
    """Largest difference of a canary's log-probabilities (nats per token) that still counts as equal, for float32;
    half precisions get 50 times as much."""
    checkpoint_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision that trained weights are stored in; `auto`: float32 when trained on a CPU, the given model's own on a
    GPU. Training itself always keeps float32 weights; half precisions round them once per iteration."""
    timeout_s: float = Field(default=1800.0, gt=0)
    """A training job that makes no progress for so long is started again."""
    enabled: bool = True
    """False publishes the policy unchanged: the control that shows what the training does."""

    @model_validator(mode="after")
    def _possible(self) -> Training:
        loss = loss_facts(self.loss)
        if self.divergence != "reverse_kl" and not loss.divergences:
            raise ValueError(
                f"loss {self.loss} has no form with divergence {self.divergence}; use reverse_kl, or a loss such as dpo"
            )
        if loss.needs_flip_rate and self.flip_rate == 0:
            raise ValueError(f"loss {self.loss} needs a flip_rate above 0, for example 0.1")
        per_device = self.per_device_batch or max(1, self.batch // self.devices)
        if self.batch % (per_device * self.devices):
            raise ValueError(
                f"batch is {self.batch}, but {self.devices} device(s) x {per_device} pairs take "
                f"{per_device * self.devices} at once: make it a multiple, or change per_device_batch"
            )
        return self


class Evaluation(Section):
    """evaluate: held-out prompts, answered greedily and sampled, never trained on."""

    playground: int | None = Field(default=None, ge=1)
    """This many held-out prompts per difficulty of the playground's world."""
    sets: dict[str, str] = Field(default_factory=dict)
    """Name of a set: file of prompts."""
    n: int = Field(default=1, ge=1)
    """Sampled responses per prompt at temperature 1 (greedy is always one)."""
    reward: RewardConfig | None = None
    """Another rewarder for the held-out answers; unset: the run's."""
    success: float = 1.0
    """An answer counts as correct when its reward is at least this."""
    baseline: Literal["initial"] | dict[str, str] | None = None
    """Whose answers the greedy ones are compared with, for win rates: name of a set: file of answers (`prompt` or
    `instruction` with `output`, `response` or `answer`; AlpacaEval's model_outputs.json too), or `initial`, the given
    model's own. `initial` alone does so for every set. Unset: nothing is compared."""
    judges_own: tuple[str, ...] = ()
    """Sets whose baseline's answers the judge's own model wrote: how much more often it prefers them than
    `audit.reward` does is measured (self-preference)."""
    when: Literal["each", "end"] = "each"
    """`each` evaluates every policy; `end` only the given model and the last one."""

    @field_validator("baseline", mode="before")
    @classmethod
    def _names_its_set(cls, given: object) -> object:
        if isinstance(given, str) and given != INITIAL:
            raise ValueError(f"allowed is {INITIAL}, or a file for each set by its name, as {{SET: {given}}}")
        return given

    def baseline_of(self, name: str) -> str | None:
        """What a set is compared with: `initial`, the path of a file of answers, or nothing."""
        return self.baseline.get(name) if isinstance(self.baseline, dict) else self.baseline


class Fleet(Section):
    """The engines."""

    engines: int = Field(default=1, ge=1)
    """How many vLLM engines."""
    window: int = Field(default=128, ge=1)
    """Prompts in flight per engine."""
    gpus_per_engine: float = Field(default=0, ge=0)
    """GPUs of one engine (tensor parallel when above 1); 0 serves on the CPU."""
    max_model_len: int | None = Field(default=None, ge=16)
    """Context of the engines; unset: the model's, bounded by what prompts and responses need."""
    memory_fraction: float = Field(default=0.85, gt=0, le=1)
    """Share of a GPU's memory for an engine."""
    cpu_cache_gb: float = Field(default=1.0, gt=0)
    """Key-value cache of an engine on a CPU, GB."""
    enforce_eager: bool | None = None
    """Skip compilation; unset: yes on a CPU."""
    restarts: int = Field(default=3, ge=0)
    """Replacements of dead engines in one stage before the run gives up."""
    stall_s: float = Field(default=600.0, gt=0)
    """An engine with requests in flight that finishes none for so long is replaced."""
    start_s: float = Field(default=900.0, gt=0)
    """An engine that starts or takes on a policy for so long is replaced; a fleet for whose engines no machine has
    room for so long pauses the run."""
    backoff_s: float = Field(default=1.0, ge=0)
    """Pause before an engine that died twice in a row is started again; doubled each further time, a minute at most."""
