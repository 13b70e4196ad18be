"""The creator's sections: informativeness, sampling, evolving, mixing."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, model_validator

from eva.config.section import Section, one_of
from eva.creator.metrics import METRICS, needs_threshold
from eva.creator.operators import FAMILIES, FIRST_PACK
from eva.creator.samplers import SAMPLERS
from eva.creator.sampling import SamplingRule
from eva.creator.weights import WEIGHTS, WITH_TEMPERATURE


class Informativeness(Section):
    """estimate: info(x) per prompt."""

    metric: Annotated[
        str,
        one_of("regret metric", METRICS, or_function=True),
        Field(json_schema_extra={"enum": [*METRICS, "module:function"]}),
    ] = "a_min"
    """Regret metric, by name (docs/reference/metrics.md), or a function of yours, rewards_P_N -> info_P."""
    threshold: float | None = None
    """learnability: a response whose reward is above this counts as solved."""

    @model_validator(mode="after")
    def _possible(self) -> Informativeness:
        if needs_threshold(self.metric) and self.threshold is None:
            raise ValueError(
                f"metric {self.metric} needs a threshold: the reward above which a response counts as "
                "solved, such as 0.5 for rewards of 0 and 1"
            )
        if self.threshold is not None and not needs_threshold(self.metric):
            raise ValueError(
                f"threshold is {self.threshold:g}, but metric {self.metric} has none: allowed with "
                f"{', '.join(filter(needs_threshold, METRICS))}"
            )
        return self


class Sampling(Section):
    """sample: which prompts of the pool are evolved."""

    fraction: float = Field(default=0.25, gt=0, le=1)
    """Share of the pool."""
    weights: Annotated[
        str,
        one_of("weighting", WEIGHTS, or_function=True),
        Field(json_schema_extra={"enum": [*WEIGHTS, "module:function"]}),
    ] = "minmax"
    """How info becomes a weight (docs/reference/samplers.md), or a function of yours, info_E, temperature -> log
    weights."""
    temperature: float | None = Field(default=None, gt=0)
    """rank, softmax, a function of yours: above 1 flattens the weights, below 1 sharpens them; unset: 1."""
    sampler: Annotated[
        str,
        one_of("sampler", SAMPLERS, or_function=True),
        Field(json_schema_extra={"enum": [*SAMPLERS, "module:function"]}),
    ] = "weighted"
    """How weights become a subset; `weighted` is Gumbel top-k. Or a function of yours, candidates -> keys."""
    topic_share: float | None = Field(default=None, ge=0, le=1)
    """topic_balanced: share of the weight that goes to prompts by inverse topic frequency; unset: 0.5."""
    staleness: float = Field(default=0.0, ge=0, le=1)
    """rho: share of the weight that goes to prompts by the iterations since they were last answered. Needs
    `info_from: reuse`."""

    @property
    def rule(self) -> SamplingRule:
        """What `sample` is told."""
        return SamplingRule(
            self.weights,
            self.sampler,
            self.temperature or 1.0,
            self.staleness,
            0.5 if self.topic_share is None else self.topic_share,
        )

    @model_validator(mode="after")
    def _possible(self) -> Sampling:
        if self.temperature is not None and self.weights in WEIGHTS and self.weights not in WITH_TEMPERATURE:
            raise ValueError(
                f"temperature is {self.temperature:g}, but weights {self.weights} have none: allowed with "
                f"{', '.join(sorted(WITH_TEMPERATURE))}"
            )
        if self.topic_share is not None and self.sampler in SAMPLERS and self.sampler != "topic_balanced":
            raise ValueError(
                f"topic_share is {self.topic_share:g}, but sampler {self.sampler} does not look at "
                "topics: allowed with topic_balanced"
            )
        if self.staleness and self.sampler == "greedy":
            raise ValueError(
                f"staleness is {self.staleness:g}, but sampler greedy looks at info alone: allowed with "
                f"{', '.join(name for name in SAMPLERS if name != 'greedy')}"
            )
        return self


class PlaygroundEvolver(Section):
    """The playground's own mechanical operators."""

    kind: Literal["playground"]
    """`playground`."""


class EvolInstruct(Section):
    """EvolInstruct through LiteLLM: any provider, any OpenAI-compatible server."""

    kind: Literal["evol_instruct"]
    """`evol_instruct`."""
    model: str
    """LiteLLM's `provider/model`, e.g. `openai/gpt-4o-mini`; `openai/NAME` with `api_base` for your own server."""
    api_base: str | None = None
    """Address of an OpenAI-compatible server."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key (never the key itself)."""
    temperature: float = Field(default=0.88, ge=0)
    """Sampling temperature."""
    max_tokens: int = Field(default=666, ge=16)
    """Reply tokens at most."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds for one call."""
    retries: int = Field(default=5, ge=0)
    """Further tries after a failed call, with exponential back-off and jitter."""


class SelfEvolver(Section):
    """The run's own fleet: the policy that is being aligned writes the prompts too."""

    kind: Literal["self"]
    """`self`."""
    temperature: float = Field(default=0.88, ge=0)
    """Sampling temperature."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling mass."""
    max_tokens: int = Field(default=666, ge=16)
    """Reply tokens at most."""


class FeedbackEvolver(Section):
    """EvolInstruct that is shown how the policy did: its best and worst response to the sampled prompt, rewarded."""

    kind: Literal["feedback"]
    """`feedback`."""
    writer: Annotated[EvolInstruct | SelfEvolver, Field(discriminator="kind")]
    """Who writes: a model through LiteLLM, or the run's own fleet."""
    critique: Literal["silent", "written"] = "silent"
    """`silent` asks to think of the worst response's faults first; `written` has them written down in a call of its
    own, and shows them."""
    response_chars: int = Field(default=2000, ge=1)
    """Characters of each response that are shown."""


class CustomEvolver(Section):
    """A class of yours with `operators` and `evolve(mutation)`."""

    kind: Literal["custom"]
    """`custom`."""
    path: str
    """`module:Class`, importable where the driver runs (the working directory is on the path)."""
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Keyword arguments of the class."""


EvolverConfig = Annotated[
    PlaygroundEvolver | EvolInstruct | SelfEvolver | FeedbackEvolver | CustomEvolver, Field(discriminator="kind")
]


class Budget(Section):
    """What evolving may cost in one iteration. When a limit is reached, the stage ends with the children it has."""

    max_attempts: int | None = Field(default=None, ge=1)
    """Mutations asked, refused ones included; exact."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of requests and replies; passed by what is in flight when it is reached, a reply per chain at most."""
    max_cost_usd: float | None = Field(default=None, gt=0)
    """US dollars, as LiteLLM prices them (a server of yours costs 0); passed as `max_tokens` is."""


class Gate(Section):
    """Admit a child to the mix only if a cheap probe by the current policy shows regret inside a band."""

    responses: int = Field(default=2, ge=2)
    """Responses of the probe, fewer than `generation.n`; a child that is judged later only gets the others."""
    low: float = Field(default=0.0, ge=0)
    """Smallest regret admitted: max - min of the probe's rewards, in the rewarder's own units."""
    high: float | None = Field(default=None, ge=0)
    """Largest regret admitted; unset: any."""

    @model_validator(mode="after")
    def _band(self) -> Gate:
        if self.high is not None and self.high < self.low:
            raise ValueError(f"the gate's band goes from {self.low:g} to {self.high:g}; expected low <= high")
        return self


def _flat(value: object) -> object:
    """`{in_depth: […], in_breadth: […]}` as one list."""
    if not isinstance(value, dict):
        return value
    families = cast("dict[str, list[str]]", value)
    if unknown := families.keys() - {"in_depth", "in_breadth"}:
        raise ValueError(f"no family of operators is called {min(unknown)!r}; known: in_depth, in_breadth")
    for family, names in families.items():
        if misplaced := [name for name in names if FAMILIES.get(name, family) != family]:
            raise ValueError(f"operator {misplaced[0]!r} belongs to {FAMILIES[misplaced[0]]}, not to {family}")
    return [name for names in families.values() for name in names]


class Evolving(Section):
    """evolve: children of the sampled prompts."""

    evolver: EvolverConfig
    """Who writes the children."""
    operators: Annotated[list[str] | None, BeforeValidator(_flat)] = None
    """Operators, of which each evolution draws one uniformly: a list, or lists under `in_depth` and `in_breadth`.
    Unset: the evolver's own, of a language model EvolInstruct's five."""
    per_prompt: int = Field(default=4, ge=1)
    """Evolutions per sampled prompt."""
    mode: Literal["chain", "fan_out"] = "chain"
    """`chain`: child k grows from child k-1, all kept; `fan_out`: all from the sampled prompt."""
    attempts: int = Field(default=3, ge=1)
    """Tries per child before it is given up; each retry starts at the last good ancestor."""
    concurrency: int = Field(default=16, ge=1)
    """Chains evolved at a time."""
    max_chars: int = Field(default=8000, ge=1)
    """Longer children are refused."""
    similarity: float = Field(default=0.95, gt=0, le=1)
    """A child whose shingles overlap its parent's by at least this much (Jaccard) is refused; 1: only equal texts."""
    budget: Budget | None = None
    """Limits per iteration; unset: none."""
    gate: Gate | None = None
    """Probe children before they are mixed; unset: every child that was accepted enters the mix."""

    @property
    def asks_policy(self) -> bool:
        """Whether children are written by the run's own fleet."""
        evolver = self.evolver
        return "self" in (evolver.kind, evolver.writer.kind if isinstance(evolver, FeedbackEvolver) else None)

    @model_validator(mode="after")
    def _known_operators(self) -> Evolving:
        names = self.operators
        if names is None:
            return self
        if not names or len(set(names)) < len(names):
            raise ValueError(f"`operators` are {names}; give at least one, and each once")
        if isinstance(self.evolver, CustomEvolver):
            return self
        kind, known = self.evolver.kind, FIRST_PACK if isinstance(self.evolver, PlaygroundEvolver) else FAMILIES
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"evolver {kind} has no operator {name!r}; known: {', '.join(known)}{hint}")
        return self


class Mixing(Section):
    """mix: the batch that the solver trains on."""

    children: float = Field(default=0.8, ge=0, le=1)
    """Share of the children, drawn uniformly."""
    buffer: float = Field(default=0.2, ge=0, le=1)
    """Share of the pool, drawn uniformly."""
