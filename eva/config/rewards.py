"""The rewarders' sections, one per `kind`, and the audit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from eva.config.section import Section, one_of
from eva.evaluation.answers import NORMALISERS


class MockReward(Section):
    """Deterministic rewards without a model, for tests."""

    kind: Literal["mock"]
    """`mock`."""
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of Gaussian noise, derived from the seed and the texts."""
    length_bias: float = 0.0
    """Added for every 100 characters of the response."""
    failure_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of responses that cannot be rewarded, derived from the seed and the texts."""
    seed: int = 0
    """Seed of base rewards, noise and failures."""


class VerifierReward(Section):
    """Your own function, `(prompt: str, response: str) -> float`, sync or async."""

    kind: Literal["verifier"]
    """`verifier`."""
    function: str
    """`module:function`, importable where the driver runs (the working directory is on the path)."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Seconds for one response; one that takes longer is quarantined."""
    first_call_s: float = Field(default=300.0, gt=0)
    """Seconds for a process's first call, if `timeout_s` is less: it may import libraries and load a model. A later
    import may hold up `timeout_s` for as long."""
    concurrency: int = Field(default=8, ge=1)
    """Simultaneous calls of an async function."""


class AgreementReward(Section):
    """Agreement with the majority of the responses to a prompt, where no verifier exists: 1 or 0."""

    kind: Literal["agreement"]
    """`agreement`."""
    normaliser: Annotated[
        str,
        one_of("normaliser", NORMALISERS, or_function=True),
        Field(json_schema_extra={"enum": [*NORMALISERS, "module:function"]}),
    ] = "last_number"
    """What counts as a response's answer: `last_number`, `boxed` (LaTeX's last \\boxed), `last_line`, or your own
    function, response -> text or None."""
    low: float | None = Field(default=None, ge=0, le=1)
    """Least share of the responses that must agree; a prompt below it gets no rewards, and is not trained on."""
    high: float | None = Field(default=None, ge=0, le=1)
    """Greatest share; above it the prompt is too easy to teach anything."""

    @model_validator(mode="after")
    def _band(self) -> AgreementReward:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low is {self.low:g} and high is {self.high:g}; expected low <= high")
        return self


class Environment(Section):
    """An environment of the `verifiers` package with one turn (docs/extending/environments.md)."""

    id: str
    """Name of an importable module with a function `load_environment`; hyphens stand for underscores."""
    args: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Arguments of `load_environment`."""


class EnvironmentReward(Environment):
    """An environment's rollout around each response, scored by its rubric."""

    kind: Literal["environment"]
    """`environment`."""
    needs_answer: bool = True
    """Give no reward to responses to prompts that are neither in its data set nor have a reference answer, such as most
    children. Set it to false if the rubric can do without an answer."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Seconds for one response, or for all of a prompt where the rubric compares them."""
    secrets: tuple[str, ...] = ()
    """Names of the environment variables that hold keys which the rubric needs, for example for a judge."""


class RewardNetwork(Section):
    """The settings that all reward models with a neural network share."""

    model: str
    """Folder of a Hugging Face model with safetensors, or a hub id."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    trust_remote_code: bool = False
    """Run the Python files that come with the model. `revision` must then be a commit hash, or `model` a folder."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the weights; `auto`: float32 on a CPU, the model's own on a GPU."""
    gpus: float = Field(default=0, ge=0)
    """GPUs for each of its processes (a fraction shares one, for example with an engine); 0 computes on the CPU. While
    the solver trains, they are free for the training."""
    replicas: int = Field(default=1, ge=1)
    """Processes that compute rewards, each with the model and `gpus` of its own. Of an ensemble, the most that a member
    asks for."""
    batch_tokens: int = Field(default=16384, ge=1)
    """Tokens per forward pass, padding included; a longer text gets a pass of its own."""
    max_length: int | None = Field(default=None, ge=2)
    """Limit on the tokens of one text, prompt and response(s) together; a longer one gets a reason instead of a reward.
    Unset: the model's own limit."""


class PointwiseReward(RewardNetwork):
    """A sequence-classification reward model: the raw logit of prompt and response."""

    kind: Literal["pointwise"]
    """`pointwise`."""
    architecture: Literal["auto", "classifier", "armorm"] = "auto"
    """`classifier`: any `*ForSequenceClassification`; `armorm`: ArmoRM's gated heads; `auto`: what the model's
    config.json says."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """What computes the logits; `vllm` supports classifiers only (pooling)."""
    template: Literal["chat", "pair", "none"] = "chat"
    """`chat` renders both turns with the reward model's own template; `pair` passes two texts to its tokenizer, as
    encoders of the BERT family expect; `none` joins the texts with an empty line."""
    system_prompt: str | None = None
    """A system message that is put before every prompt (needs a template with a system role)."""
    label: int | None = Field(default=None, ge=0)
    """For a model with several logits: the index of the one that is the reward."""
    weights: tuple[float, ...] | None = None
    """Instead of `label`: the reward is the weighted sum of the logits, with one weight per label."""
    memory_fraction: float = Field(default=0.3, gt=0, le=1)
    """Share of a GPU's memory for the vLLM backend."""

    @model_validator(mode="after")
    def _possible(self) -> PointwiseReward:
        if self.label is not None and self.weights is not None:
            raise ValueError("set either `label` or `weights`, not both")
        if self.architecture == "armorm" and (self.backend == "vllm" or self.label is not None or self.weights):
            raise ValueError("`architecture: armorm` needs `backend: transformers`, without `label` and `weights`")
        if self.template == "pair" and (self.backend == "vllm" or self.architecture == "armorm"):
            raise ValueError("`template: pair` needs `backend: transformers` and `architecture: classifier`")
        return self


class PairwiseReward(RewardNetwork):
    """A preference model over pairs of responses; rewards are aggregated wins."""

    kind: Literal["pairwise"]
    """`pairwise`."""
    architecture: Literal["auto", "pairrm", "pair_preference"] = "auto"
    """`pairrm`: PairRM's ranker (PairRM-hf); `pair_preference`: RLHFlow's causal LM, which chooses A or B; `auto`: what
    the model's config.json says."""
    both_orders: bool = True
    """Compare each pair in both orders and take the mean: P(i beats j) = (p_ij + 1 - p_ji) / 2."""
    aggregation: Literal["mean_win_rate", "bradley_terry"] = "mean_win_rate"
    """A response's reward: its mean win rate against the responses to its prompt (against itself: 1/2), or its
    Bradley-Terry log-strength."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the preference logits; PairRM and RLHFlow use 1."""


class JudgeReward(Section):
    """A language model as judge, through LiteLLM: any provider, or any OpenAI-compatible server."""

    kind: Literal["judge"]
    """`judge`."""
    model: str
    """LiteLLM's `provider/model`; `openai/NAME` with `api_base` for your own server."""
    mode: Literal["pairwise", "rating"] = "pairwise"
    """`pairwise`: two responses at a time, in both orders; `rating`: one at a time, a whole number from 1 to 10."""
    aggregation: Literal["mean_win_rate", "bradley_terry"] = "mean_win_rate"
    """For `pairwise`: the reward is the mean win rate against the responses to the prompt (against itself: 1/2), or the
    Bradley-Terry log-strength, which suits few `opponents`."""
    opponents: int | None = Field(default=None, ge=1)
    """For `pairwise`: compare each response with about this many others; unset: with all others to its prompt."""
    api_base: str | None = None
    """Address of an OpenAI-compatible server."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key (never the key itself)."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature."""
    max_tokens: int = Field(default=1024, ge=16)
    """Limit on the reply's tokens; a verdict that is cut off does not count."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds for one call."""
    retries: int = Field(default=5, ge=0)
    """Retries after a failed call, with exponential back-off and jitter."""
    concurrency: int = Field(default=16, ge=1)
    """Simultaneous calls."""
    max_cost_usd: float | None = Field(default=None, gt=0)
    """Budget for the whole run, in US dollars by LiteLLM's price list. When the judge has spent it, the run fails and
    can be resumed with a higher limit. Calls in flight may exceed it; calls for prompts that were unfinished when a
    process ended are not counted."""
    seed: int = 0
    """Seed of the marks that separate the judge's verdict from the text of a response."""


class Member(Section):
    """One rewarder of an ensemble."""

    reward: MemberConfig
    """The rewarder."""
    scale: float | None = Field(default=None, gt=0)
    """What its rewards are divided by: their standard deviation, or a gap that you consider large. Required with
    `on: scaled`."""
    centre: float = 0.0
    """Subtracted from its rewards first: the reward that counts as zero. It matters for `minimum` and `median`."""


class EnsembleReward(Section):
    """Several rewarders combined into one. Raw rewards are never mixed."""

    kind: Literal["ensemble"]
    """`ensemble`."""
    members: tuple[Member, ...] = Field(min_length=2)
    """The rewarders, each with its `reward` (a rewarder's section), its `scale` (what its rewards are divided by: their
    standard deviation, or a gap that you consider large) and its `centre` (subtracted first; 0 by default)."""
    combine: Literal["mean", "minimum", "median"] = "mean"
    """How the members' rewards of a response are combined."""
    on: Literal["scaled", "rank"] = "scaled"
    """What is combined. `scaled`: (reward - `centre`) / `scale`; `rank`: the share of responses to the same prompt that
    a response beats (itself and ties count 1/2), which ignores how large the gaps are."""

    @model_validator(mode="after")
    def _comparable(self) -> EnsembleReward:
        bare = [place for place, member in enumerate(self.members) if member.scale is None]
        if self.on == "scaled" and bare:
            raise ValueError(
                f"members {bare} have no `scale`, but raw rewards of different models are never mixed: set each scale "
                "to the spread of the member's rewards, or set `on: rank`"
            )
        return self


MemberConfig = Annotated[
    MockReward | VerifierReward | AgreementReward | EnvironmentReward | PointwiseReward | PairwiseReward | JudgeReward,
    Field(discriminator="kind"),
]
"""What an ensemble may contain: every rewarder except another ensemble."""

RewardConfig = Annotated[
    MockReward
    | VerifierReward
    | AgreementReward
    | EnvironmentReward
    | PointwiseReward
    | PairwiseReward
    | JudgeReward
    | EnsembleReward,
    Field(discriminator="kind"),
]


def gives_win_rates(reward: RewardConfig) -> bool:
    """Returns whether a reward is the mean win rate against all responses to the prompt (against itself: 1/2)."""
    return (
        isinstance(reward, PairwiseReward | JudgeReward)
        and reward.aggregation == "mean_win_rate"
        and (getattr(reward, "mode", "pairwise") == "pairwise")
    )


def gpus_of(reward: RewardConfig) -> float:
    """Returns the GPUs of a rewarder's process; the members of an ensemble share one process."""
    if isinstance(reward, EnsembleReward):
        return sum(gpus_of(member.reward) for member in reward.members)
    return reward.gpus if isinstance(reward, RewardNetwork) else 0


def replicas_of(reward: RewardConfig) -> int:
    """Returns the number of a rewarder's processes; of an ensemble, the most that one of its members asks for."""
    if isinstance(reward, EnsembleReward):
        return max(replicas_of(member.reward) for member in reward.members)
    return reward.replicas if isinstance(reward, RewardNetwork) else 1


def has_budget(reward: RewardConfig) -> bool:
    """Returns whether the rewarder's cost is limited."""
    if isinstance(reward, EnsembleReward):
        return any(has_budget(member.reward) for member in reward.members)
    return isinstance(reward, JudgeReward) and reward.max_cost_usd is not None


Member.model_rebuild()
EnsembleReward.model_rebuild()


class Audit(Section):
    """audit: what the rewarder prefers besides quality, measured on each iteration's batch."""

    reward: RewardConfig | None = None
    """A second, frozen rewarder; eva stores how far it agrees with the run's. It is never used for training."""
    prompts: int = Field(default=200, ge=2)
    """How many prompts of the batch the second rewarder sees, drawn anew each iteration."""
