"""The creator's sections: informativeness, sampling, evolving, mixing."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from eva.config.section import Section, one_of
from eva.config.solver import Training
from eva.creator.metrics import METRICS, needs_threshold
from eva.creator.operators import FAMILIES, FIRST_PACK
from eva.creator.operators.choice import CHOICES, is_broad
from eva.creator.samplers import SAMPLERS
from eva.creator.sampling import SamplingRule
from eva.creator.weights import WEIGHTS, WITH_TEMPERATURE
from eva.solver.losses import check_loss_name
from eva.types import SamplingSettings


class Informativeness(Section):
    """estimate: info(x) per prompt."""

    metric: Annotated[
        str,
        one_of("regret metric", METRICS, or_function=True),
        Field(json_schema_extra={"enum": [*METRICS, "module:function"]}),
    ] = "a_min"
    """Regret metric by name (docs/reference/metrics.md), or your own function, rewards_P_N -> info_P."""
    threshold: float | None = None
    """For learnability: a response counts as solved if its reward is above this."""

    @model_validator(mode="after")
    def _possible(self) -> Informativeness:
        if needs_threshold(self.metric) and self.threshold is None:
            raise ValueError(
                f"metric {self.metric} needs a threshold, the reward above which a response counts as solved: set "
                "informativeness.threshold, for example 0.5 for rewards of 0 and 1"
            )
        if self.threshold is not None and not needs_threshold(self.metric):
            raise ValueError(
                f"threshold is {self.threshold:g}, but metric {self.metric} does not use one: allowed with "
                f"{', '.join(filter(needs_threshold, METRICS))}"
            )
        return self


class Sampling(Section):
    """sample: which prompts of the pool are evolved."""

    fraction: float = Field(default=0.25, gt=0, le=1)
    """Share of the pool that is sampled."""
    weights: Annotated[
        str,
        one_of("weighting", WEIGHTS, or_function=True),
        Field(json_schema_extra={"enum": [*WEIGHTS, "module:function"]}),
    ] = "minmax"
    """How info becomes a weight (docs/reference/samplers.md), or your own function, (info_E, temperature) -> log
    weights."""
    temperature: float | None = Field(default=None, gt=0)
    """For rank, softmax and your own function: above 1 flattens the weights, below 1 sharpens them; unset: 1."""
    sampler: Annotated[
        str,
        one_of("sampler", SAMPLERS, or_function=True),
        Field(json_schema_extra={"enum": [*SAMPLERS, "module:function"]}),
    ] = "weighted"
    """How weights become a subset; `weighted` is Gumbel top-k. Or your own function, candidates -> keys."""
    topic_share: float | None = Field(default=None, ge=0, le=1)
    """For topic_balanced: share of the weight that is distributed by inverse topic frequency; unset: 0.5."""
    staleness: float = Field(default=0.0, ge=0, le=1)
    """rho: share of the weight that is distributed by the number of iterations since a prompt last got responses.
    Needs `info_from: reuse`."""

    @property
    def rule(self) -> SamplingRule:
        """These settings as `sample` takes them."""
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
                f"temperature is {self.temperature:g}, but weights {self.weights} do not use one: allowed with "
                f"{', '.join(sorted(WITH_TEMPERATURE))}"
            )
        if self.topic_share is not None and self.sampler in SAMPLERS and self.sampler != "topic_balanced":
            raise ValueError(
                f"topic_share is {self.topic_share:g}, but sampler {self.sampler} does not use topics: allowed with "
                "topic_balanced"
            )
        if self.staleness and self.sampler == "greedy":
            raise ValueError(
                f"staleness is {self.staleness:g}, but sampler greedy uses info alone: allowed with "
                f"{', '.join(name for name in SAMPLERS if name != 'greedy')}"
            )
        return self


class PlaygroundEvolver(Section):
    """The playground's own mechanical operators."""

    kind: Literal["playground"]
    """`playground`."""


class EvolInstruct(Section):
    """EvolInstruct through LiteLLM: any provider, or any OpenAI-compatible server."""

    kind: Literal["evol_instruct"]
    """`evol_instruct`."""
    model: str
    """LiteLLM's `provider/model`, such as `openai/gpt-4o-mini`; `openai/NAME` with `api_base` for your own server."""
    api_base: str | None = None
    """Address of an OpenAI-compatible server."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key (never the key itself)."""
    temperature: float = Field(default=0.88, ge=0)
    """Sampling temperature."""
    max_tokens: int = Field(default=666, ge=16)
    """Limit on the reply's tokens."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds for one call."""
    retries: int = Field(default=5, ge=0)
    """Retries after a failed call, with exponential back-off and jitter."""


class SelfEvolver(Section):
    """The run's own fleet: the policy that is being aligned also writes the prompts."""

    kind: Literal["self"]
    """`self`."""
    temperature: float = Field(default=0.88, ge=0)
    """Sampling temperature."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Probability mass of nucleus sampling."""
    max_tokens: int = Field(default=666, ge=16)
    """Limit on the reply's tokens."""

    @property
    def settings(self) -> SamplingSettings:
        """How each reply is sampled."""
        return SamplingSettings(self.temperature, self.top_p, self.max_tokens)


class FeedbackEvolver(Section):
    """EvolInstruct that sees how the policy did: its best and worst response to the sampled prompt, with rewards."""

    kind: Literal["feedback"]
    """`feedback`."""
    writer: Annotated[EvolInstruct | SelfEvolver, Field(discriminator="kind")]
    """Who writes the prompts: a model through LiteLLM, or the run's own fleet."""
    critique: Literal["silent", "written"] = "silent"
    """`silent` asks the writer to think about the worst response's faults first; `written` has them written down in a
    separate call and shows them to the writer."""
    response_chars: int = Field(default=2000, ge=1)
    """How many characters of each response are shown."""


class CreatorTraining(Training):
    """Updates a creator of its own by a policy gradient: the keys of `training`, with defaults for a creator."""

    loss: Annotated[str, AfterValidator(check_loss_name)] = "rloo"
    """An online loss: rloo, grpo, dr_grpo. The children of one sampled prompt are its group."""
    epochs: float = Field(default=1, gt=0)
    """Passes over the children."""

    @model_validator(mode="after")
    def _of_a_creator(self) -> CreatorTraining:
        if not self.facts.online:
            raise ValueError(
                f"loss is {self.loss}, but a creator learns from the rewards of single children: use rloo, grpo or "
                "dr_grpo"
            )
        if self.sync_every is not None:
            raise ValueError(
                f"sync_every is {self.sync_every}, but a creator is updated once per iteration, when its children have "
                "been judged: leave it out"
            )
        if not self.enabled:
            raise ValueError("enabled is false: for a creator that is not updated, set evolver.frozen to true")
        return self


class TrainedEvolver(Section):
    """A creator of its own: a second set of weights in the run's fleet, updated from what its children are worth."""

    kind: Literal["trained"]
    """`trained`."""
    model: str | None = None
    """Folder or hub id of the creator's first weights, of the same shape and with the same tokenizer as the solver, or
    `playground`. Unset: the run's model. Relative to the config file's folder."""
    frozen: bool = False
    """Never update it: the control of a trained creator, with the same seeds, samples and rewards."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature; every token can be sampled (top_p is 1), as the loss needs it."""
    max_tokens: int = Field(default=666, ge=16)
    """Limit on the reply's tokens."""
    feedback: bool = False
    """Show the policy's best and worst response to the sampled prompt above the instruction, with their rewards."""
    response_chars: int = Field(default=2000, ge=1)
    """For `feedback`: how many characters of each response are shown."""
    likeness: float = Field(default=1.0, ge=0, le=1)
    """How much of a child's reward its likeness to other children and earlier prompts takes away: a child that repeats
    one entirely keeps 1 less this."""
    training: CreatorTraining = Field(default_factory=CreatorTraining)
    """How it is updated."""

    @property
    def of_playground(self) -> bool:
        """Whether this is the playground's creator, which is asked in the words of the micro-world."""
        return self.model == "playground"

    @property
    def settings(self) -> SamplingSettings:
        """How each child is sampled."""
        return SamplingSettings(self.temperature, 1.0, self.max_tokens)

    @model_validator(mode="after")
    def _words(self) -> TrainedEvolver:
        if self.feedback and self.of_playground:
            raise ValueError(
                "feedback is true, but the playground's creator was only taught operator and parent: leave it out"
            )
        return self


class CopyEvolver(Section):
    """Copies in place of children: a control in which prompts are sampled by informativeness, but not evolved."""

    kind: Literal["copy"]
    """`copy`."""


class CustomEvolver(Section):
    """Your own class with `operators` and `evolve(mutation)`."""

    kind: Literal["custom"]
    """`custom`."""
    path: str
    """`module:Class`, importable where the driver runs (the working directory is on the path)."""
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Keyword arguments for the class."""


EvolverConfig = Annotated[
    PlaygroundEvolver | EvolInstruct | SelfEvolver | TrainedEvolver | FeedbackEvolver | CopyEvolver | CustomEvolver,
    Field(discriminator="kind"),
]


class Budget(Section):
    """What evolving may cost in one iteration. At a limit, the stage ends with the children it has."""

    max_attempts: int | None = Field(default=None, ge=1)
    """Limit on mutations, refused ones included; exact."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Limit on tokens of requests and replies. Replies in flight may exceed it, by at most one per chain."""
    max_cost_usd: float | None = Field(default=None, gt=0)
    """Limit in US dollars by LiteLLM's price list (your own server costs 0). Replies in flight may exceed it, as with
    `max_tokens`."""


class Guidance(Section):
    """A second opinion on each child, by a judge or a function of your own: is it a sensible, useful task?"""

    model: str | None = None
    """LiteLLM's `provider/model` of the judge; `openai/NAME` with `api_base` for your own server."""
    function: str | None = None
    """Instead of a judge: `module:function`, text -> a number from 0 to 1."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Refuse a child with a lower score, as `guide`."""
    api_base: str | None = None
    """Address of an OpenAI-compatible server."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key (never the key itself)."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature."""
    max_tokens: int = Field(default=512, ge=16)
    """Limit on the reply's tokens; an opinion that is cut off does not count."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds for one call."""
    retries: int = Field(default=5, ge=0)
    """Retries after a failed call, with exponential back-off and jitter."""

    @model_validator(mode="after")
    def _one_source(self) -> Guidance:
        if (self.model is None) == (self.function is None):
            raise ValueError("set exactly one of `model` (a judge) and `function` (your own)")
        return self


class Gate(Section):
    """Admits a child to the mix only if a cheap probe by the current policy shows a regret within limits."""

    responses: int = Field(default=2, ge=2)
    """Responses per probe, fewer than `generation.n`; a child that is judged later gets only the remaining ones."""
    low: float = Field(default=0.0, ge=0)
    """Smallest regret that is admitted: max - min of the probe's rewards, in the rewarder's own units."""
    high: float | None = Field(default=None, ge=0)
    """Largest regret that is admitted; unset: no limit."""

    @model_validator(mode="after")
    def _band(self) -> Gate:
        if self.high is not None and self.high < self.low:
            raise ValueError(f"the gate's low is {self.low:g} and its high is {self.high:g}; expected low <= high")
        return self


def _flat(value: object) -> object:
    """Returns the operators of `{in_depth: […], in_breadth: […]}` as one list."""
    if not isinstance(value, dict):
        return value
    families = cast("dict[str, list[str]]", value)
    if unknown := families.keys() - {"in_depth", "in_breadth"}:
        raise ValueError(f"there is no operator family {min(unknown)!r}; known: in_depth, in_breadth")
    for family, names in families.items():
        if misplaced := [name for name in names if FAMILIES.get(name, family) != family]:
            raise ValueError(f"operator {misplaced[0]!r} belongs to {FAMILIES[misplaced[0]]}, not to {family}")
    return [name for names in families.values() for name in names]


CHAINS, CHAINS_OF_SERVICE = 16, 128
"""How many chains are evolved at the same time unless the config says it; the latter where a service is asked."""


class Evolving(Section):
    """evolve: children of the sampled prompts."""

    evolver: EvolverConfig
    """What writes the children."""
    operators: Annotated[list[str] | None, BeforeValidator(_flat)] = None
    """The operators; each evolution draws one (see `choice`). A list, or lists under `in_depth` and `in_breadth`.
    Unset: the evolver's own operators, for a language model EvolInstruct's five."""
    choice: Annotated[
        str,
        one_of("choice of operators", CHOICES, or_function=True),
        Field(json_schema_extra={"enum": [*CHOICES, "module:function"]}),
    ] = "uniform"
    """How an evolution gets its operator (docs/reference/operators.md): `uniform`, `bandit` (those whose children were
    informative in earlier iterations more often), or your own function, record -> probabilities."""
    floor: float | None = Field(default=None, ge=0, le=1)
    """The least probability of an operator, unless all are alike; unset: 0.05."""
    per_prompt: int = Field(default=4, ge=1)
    """Evolutions per sampled prompt."""
    mode: Literal["chain", "fan_out"] = "chain"
    """`chain`: child k grows from child k-1, all kept; `fan_out`: all from the sampled prompt."""
    attempts: int = Field(default=3, ge=1)
    """Tries per child before eva gives it up; each retry starts at the last good ancestor."""
    concurrency: int | None = Field(default=None, ge=1)
    """Chains that are evolved at the same time. Unset: as many as a service takes, which its answers show, at most 128;
    16 with other evolvers."""
    overlap: bool | None = None
    """Evolve the next iteration's children while the solver is trained, with the same outcome
    (docs/reference/evolvers.md). Unset: wherever the children do not depend on the training, which needs `info_from:
    reuse`; `false`: never; `true`: refuse a config in which it is impossible."""
    max_chars: int = Field(default=8000, ge=1)
    """Characters of the longest child that is accepted."""
    similarity: float = Field(default=0.95, gt=0, le=1)
    """Refuse a child whose shingles overlap its parent's by at least this much (Jaccard index); 1 refuses only equal
    texts."""
    budget: Budget | None = None
    """Limits per iteration; unset: no limits."""
    gate: Gate | None = None
    """Probe children before mixing; unset: every accepted child enters the mix."""
    guide: Guidance | None = None
    """Score each child before it is accepted; the score enters the weights by which prompts are sampled. Unset: no
    scores."""
    breadth: float = Field(default=0.0, ge=0, le=1)
    """The least probability of all operators in breadth together, whatever `choice` says."""

    @property
    def chains_at_once(self) -> int:
        """How many chains are evolved at the same time; what a service takes may be less."""
        if self.concurrency is not None:
            return self.concurrency
        evolver = self.evolver
        writer = evolver.writer if isinstance(evolver, FeedbackEvolver) else evolver
        return CHAINS_OF_SERVICE if isinstance(writer, EvolInstruct) else CHAINS

    @property
    def asks_fleet(self) -> bool:
        """Whether the run's own fleet writes the children: with the policy's weights, or with a creator's own."""
        evolver = self.evolver
        kinds = (evolver.kind, evolver.writer.kind if isinstance(evolver, FeedbackEvolver) else None)
        return "self" in kinds or "trained" in kinds

    @property
    def creator(self) -> TrainedEvolver | None:
        """The creator that has weights of its own, if there is one."""
        return self.evolver if isinstance(self.evolver, TrainedEvolver) else None

    @property
    def shows_responses(self) -> bool:
        """Whether the writer sees the policy's best and worst response to the sampled prompt."""
        return isinstance(self.evolver, FeedbackEvolver) or (self.creator is not None and self.creator.feedback)

    @model_validator(mode="after")
    def _siblings(self) -> Evolving:
        if self.creator is None:
            return self
        if self.mode != "fan_out":
            raise ValueError(
                f"mode is {self.mode}, but a creator that is trained compares the children of one parent: set mode to "
                "fan_out"
            )
        if self.per_prompt < 2:
            raise ValueError(
                f"per_prompt is {self.per_prompt}, but a creator learns from what sets siblings apart: set it to 2 or "
                "more"
            )
        return self

    @model_validator(mode="after")
    def _floor_is_used(self) -> Evolving:
        if self.floor is not None and self.choice == "uniform":
            raise ValueError(f"floor is {self.floor:g}, but choice uniform draws all operators alike: leave floor out")
        return self

    @property
    def copies(self) -> bool:
        """Whether the children are copies of the sampled prompts, which no check may refuse as known."""
        return isinstance(self.evolver, CopyEvolver)

    @model_validator(mode="after")
    def _known_operators(self) -> Evolving:
        names = self.operators
        if names is None:
            return self
        if self.copies:
            raise ValueError(f"`operators` is {names}, but evolver copy uses none: unset it")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"`operators` is {names}; list at least one, and each only once")
        if self.breadth and not any(map(is_broad, names)):
            broad = ", ".join(name for name in FAMILIES if is_broad(name))
            raise ValueError(
                f"breadth is {self.breadth:g}, but no operator of {names} is one in breadth: add one of {broad}"
            )
        if isinstance(self.evolver, CustomEvolver):
            return self
        playground = isinstance(self.evolver, PlaygroundEvolver) or (
            self.creator is not None and self.creator.of_playground
        )
        kind, known = self.evolver.kind, FIRST_PACK if playground else FAMILIES
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"evolver {kind} has no operator {name!r}; known: {', '.join(known)}{hint}")
        return self


class Mixing(Section):
    """mix: the batch that the solver trains on."""

    children: float = Field(default=0.8, ge=0, le=1)
    """Share of the children that enters the batch, drawn uniformly."""
    buffer: float = Field(default=0.2, ge=0, le=1)
    """Share of the pool that enters the batch, drawn uniformly."""
