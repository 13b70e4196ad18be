"""The rewarders' sections, told apart by `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from eva.config.section import Section


class MockReward(Section):
    """Deterministic rewards without a model, for tests."""

    kind: Literal["mock"]
    """`mock`."""
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of Gaussian noise, derived from the seed and the texts."""
    length_bias: float = 0.0
    """Added per 100 characters of response."""
    failure_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of responses whose rewarding fails, drawn from the seed and the texts."""
    seed: int = 0
    """Seed of base rewards, noise and failures."""


class VerifierReward(Section):
    """A function of yours, `(prompt: str, response: str) -> float`, sync or async."""

    kind: Literal["verifier"]
    """`verifier`."""
    function: str
    """`module:function`, importable where the driver runs (the working directory is on the path)."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Seconds for one response; longer quarantines it."""
    concurrency: int = Field(default=8, ge=1)
    """Calls at a time of an async function."""


class RewardNetwork(Section):
    """What every reward model that is a neural network can be told."""

    model: str
    """Folder of a Hugging Face model with safetensors, or a hub id."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    trust_remote_code: bool = False
    """Run the Python files that come with the model. Needs `revision` to be a commit hash, or `model` a folder."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the weights; `auto`: float32 on a CPU, the model's own on a GPU."""
    gpus: float = Field(default=0, ge=0)
    """GPUs that its process takes (a fraction shares one); 0 computes on the CPU."""
    batch_tokens: int = Field(default=16384, ge=1)
    """Tokens of one forward pass, padding included; a longer text passes alone."""
    max_length: int | None = Field(default=None, ge=2)
    """Tokens of one text, prompt and response(s) together; longer ones get no reward but a reason. Unset: the model's
    own limit."""


class PointwiseReward(RewardNetwork):
    """A sequence-classification reward model: the raw logit of prompt and response."""

    kind: Literal["pointwise"]
    """`pointwise`."""
    architecture: Literal["auto", "classifier", "armorm"] = "auto"
    """`classifier`: any `*ForSequenceClassification`; `armorm`: ArmoRM's gated heads; `auto`: as its config.json
    says."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """What computes the logits; `vllm` serves classifiers only, by pooling."""
    template: Literal["chat", "pair", "none"] = "chat"
    """`chat` renders both turns with the reward model's own template; `pair` gives its tokenizer two texts, as encoders
    of the BERT family want; `none` joins them with an empty line."""
    system_prompt: str | None = None
    """A system message put before every prompt (needs a template that knows the role)."""
    label: int | None = Field(default=None, ge=0)
    """The logit that is the reward, of a model with several."""
    weights: tuple[float, ...] | None = None
    """Instead of `label`: the reward is the logits' sum under these weights, one per label."""
    memory_fraction: float = Field(default=0.3, gt=0, le=1)
    """Share of a GPU's memory that the vLLM backend takes."""

    @model_validator(mode="after")
    def _possible(self) -> PointwiseReward:
        if self.label is not None and self.weights is not None:
            raise ValueError("give either `label` or `weights`, not both")
        if self.architecture == "armorm" and (self.backend == "vllm" or self.label is not None or self.weights):
            raise ValueError("`architecture: armorm` goes with `backend: transformers`, without `label` and `weights`")
        if self.template == "pair" and (self.backend == "vllm" or self.architecture == "armorm"):
            raise ValueError("`template: pair` goes with `backend: transformers` and `architecture: classifier`")
        return self


class PairwiseReward(RewardNetwork):
    """A preference model over pairs of responses; rewards are aggregated wins."""

    kind: Literal["pairwise"]
    """`pairwise`."""
    architecture: Literal["auto", "pairrm", "pair_preference"] = "auto"
    """`pairrm`: PairRM's ranker (PairRM-hf); `pair_preference`: RLHFlow's causal LM, asked for A or B; `auto`: as its
    config.json says."""
    both_orders: bool = True
    """Ask each pair in both orders and take the mean: P(i beats j) = (p_ij + 1 - p_ji) / 2."""
    aggregation: Literal["mean_win_rate", "bradley_terry"] = "mean_win_rate"
    """A response's reward: its mean win rate against the responses of its prompt (itself counts 1/2), or its
    Bradley-Terry log-strength."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the preference logits; PairRM and RLHFlow use 1."""


class JudgeReward(Section):
    """A language model as judge, through LiteLLM: any provider, any OpenAI-compatible server."""

    kind: Literal["judge"]
    """`judge`."""
    model: str
    """LiteLLM's `provider/model`; `openai/NAME` with `api_base` for your own server."""
    mode: Literal["pairwise", "rating"] = "pairwise"
    """`pairwise`: two responses at a time, in both orders; `rating`: one at a time, a whole number from 1 to 10."""
    aggregation: Literal["mean_win_rate", "bradley_terry"] = "mean_win_rate"
    """`pairwise`: the reward is the mean win rate against the prompt's responses (itself counts 1/2), or the
    Bradley-Terry log-strength, which suits few `opponents`."""
    opponents: int | None = Field(default=None, ge=1)
    """`pairwise`: compare each response with about this many others; unset: with all others of its prompt."""
    api_base: str | None = None
    """Address of an OpenAI-compatible server."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key (never the key itself)."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature."""
    max_tokens: int = Field(default=1024, ge=16)
    """Reply tokens at most; a verdict that was cut off is none."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds for one call."""
    retries: int = Field(default=5, ge=0)
    """Further tries after a failed call, with exponential back-off and jitter."""
    concurrency: int = Field(default=16, ge=1)
    """Calls at a time."""
    max_cost_usd: float | None = Field(default=None, gt=0)
    """The run fails, to be resumed with a higher limit, before the judge spends more than this on all of it (US dollars
    by LiteLLM's price list). Calls in flight may add to it; those for prompts that were not finished when a process
    ended are not counted."""
    seed: int = 0
    """Seed of the marks that tell the judge's verdict from what a response says."""


class Member(Section):
    """One rewarder of an ensemble."""

    reward: MemberConfig
    """The rewarder."""
    scale: float | None = Field(default=None, gt=0)
    """Its rewards are divided by this: their standard deviation, or the gap that you call large. Required with
    `on: scaled`."""
    centre: float = 0.0
    """Subtracted before: the reward that counts as zero. It matters for `minimum` and `median`."""


class EnsembleReward(Section):
    """Several rewarders as one. Their rewards are never mixed raw."""

    kind: Literal["ensemble"]
    """`ensemble`."""
    members: tuple[Member, ...] = Field(min_length=2)
    """The rewarders, each with its `reward` (a rewarder's section), its `scale` (what its rewards are divided by: their
    standard deviation, or the gap that you call large) and its `centre` (subtracted before; 0 unless given)."""
    combine: Literal["mean", "minimum", "median"] = "mean"
    """Over the members' rewards of a response."""
    on: Literal["scaled", "rank"] = "scaled"
    """`scaled`: (reward - `centre`) / `scale`; `rank`: the share of its prompt's responses that a response is better
    than (itself and ties count 1/2), which forgets how large the gaps are."""

    @model_validator(mode="after")
    def _comparable(self) -> EnsembleReward:
        bare = [place for place, member in enumerate(self.members) if member.scale is None]
        if self.on == "scaled" and bare:
            raise ValueError(
                f"members {bare} have no `scale`: rewards of different models are never mixed raw. Give "
                "each the spread of its rewards, or set `on: rank`"
            )
        return self


MemberConfig = Annotated[
    MockReward | VerifierReward | PointwiseReward | PairwiseReward | JudgeReward, Field(discriminator="kind")
]
"""What an ensemble may hold: everything but another ensemble."""

RewardConfig = Annotated[
    MockReward | VerifierReward | PointwiseReward | PairwiseReward | JudgeReward | EnsembleReward,
    Field(discriminator="kind"),
]


def gives_win_rates(reward: RewardConfig) -> bool:
    """Whether a response's reward is its mean win rate against the responses of its prompt, itself included at 1/2."""
    return (
        isinstance(reward, PairwiseReward | JudgeReward)
        and reward.aggregation == "mean_win_rate"
        and (getattr(reward, "mode", "pairwise") == "pairwise")
    )


def has_budget(reward: RewardConfig) -> bool:
    """Whether it may cost only so much."""
    if isinstance(reward, EnsembleReward):
        return any(has_budget(member.reward) for member in reward.members)
    return isinstance(reward, JudgeReward) and reward.max_cost_usd is not None


Member.model_rebuild()
EnsembleReward.model_rebuild()


class Audit(Section):
    """audit: what the rewarder likes besides quality, each iteration, on the batch."""

    reward: RewardConfig | None = None
    """A second, frozen rewarder; its agreement with the run's is stored. Nothing is trained on it."""
    prompts: int = Field(default=200, ge=2)
    """Prompts of the batch that the second rewarder sees, drawn anew each iteration."""
