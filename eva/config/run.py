"""The config of a run: all sections together, and the rules that span several of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from eva.config.creator import Evolving, Informativeness, Mixing, Sampling
from eva.config.evaluation import Categories, Evaluation
from eva.config.rewards import (
    AgreementReward,
    Audit,
    Environment,
    EnvironmentReward,
    RewardConfig,
    gives_win_rates,
)
from eva.config.section import Section, one_of
from eva.config.solver import Fleet, Generation, Model, Pairs, Training
from eva.config.tracking import Tracking
from eva.creator.sampling import SamplingRule
from eva.creator.steering import SteeringRule
from eva.measures.diversity import FIGURES
from eva.solver.losses import check_ranking, check_win_rates, loss_facts
from eva.solver.served_adapters import check_served_adapters
from eva.storage.places import checked_store
from eva.types import Player


class Prompts(Section):
    """Where the seed prompts come from."""

    path: str | None = None
    """Prompt file: .jsonl, .json, .csv, .tsv, .parquet or .txt (one prompt per line). Relative to the config file's
    folder."""
    dataset: str | None = None
    """Instead of a file: the id of a dataset on the Hugging Face Hub, or a folder written by `save_to_disk`."""
    split: str = "train"
    """Split of the dataset."""
    playground: int | None = Field(default=None, ge=8, le=100_000)
    """Instead of a file: this many seed prompts from the playground."""
    environment: Environment | None = None
    """Instead of a file: the data set of an environment of the `verifiers` package; its answers are references."""
    field: str | None = None
    """Key of the prompt's text or messages; unset: the first of `prompt`, `instruction`, `question`, `text`, `turns`,
    `messages`, `conversations`, `conversation` that a row has."""
    system_field: str | None = None
    """Key of a system message for the prompt; unset: `system` beside messages, otherwise none."""
    topic_field: str | None = None
    """Key of the prompt's topic; unset: no topic is stored."""
    reference_field: str | None = None
    """Key of the prompt's reference answer, which verifiers and judges see (docs/reference/references.md); unset: no
    prompt has one."""
    limit: int | None = Field(default=None, ge=1)
    """Use only the first `limit` prompts."""
    per_iteration: int | None = Field(default=None, ge=2)
    """For `batch_from: new_prompts`: how many prompts each iteration takes, in the order of the file."""
    skip_empty: bool = False
    """Leave out rows whose prompt is null or empty, and count them. Unset: they are an error."""

    @model_validator(mode="after")
    def _one_source(self) -> Prompts:
        given = sum(source is not None for source in (self.path, self.dataset, self.playground, self.environment))
        if given != 1:
            raise ValueError(
                "set exactly one of `path` (a file), `dataset` (hub id or folder), `playground` (a number), "
                "`environment`"
            )
        return self


class Novelty(Section):
    """When a child counts as new. A child with the same text as a prompt of the run never does."""

    similarity: float = Field(default=0.95, gt=0, le=1)
    """Refuse a child whose word triples overlap those of any prompt of the run by at least this much (Jaccard index,
    estimated by MinHash); 1 refuses only equal texts. Ancestors count too: a low value refuses small changes to long
    prompts."""
    protected: list[str] = Field(default_factory=list)
    """Prompt files, such as benchmarks, that no prompt of the run may overlap with. Relative to the config file's
    folder."""
    protected_words: int = Field(default=13, ge=2)
    """How many words in a row shared with a protected text make an overlap; a shorter protected text has to match as a
    whole."""
    checks: list[str] = Field(default_factory=list)
    """Your own checks, `module:function`: each takes a text and returns None, or the reason for refusing the child."""
    embedding_model: str | None = None
    """Local folder of a sentence encoder or language model in safetensors. A child that means nearly the same as a
    prompt of the run is refused. Unset: no such check. Relative to the config file's folder."""
    semantic_similarity: float | None = Field(default=None, gt=0, le=1)
    """For `embedding_model`: refuse a child if the cosine of two prompts' embeddings is at least this; unset: 0.95. The
    right value depends on the model."""
    pull: float = Field(default=0.0, ge=0, le=1)
    """How much of its weight in sampling a prompt loses that repeats other prompts of the run, of its own and of all
    earlier iterations: the weight is multiplied by 1 - pull x likeness (docs/reference/guards.md)."""

    @property
    def cosine(self) -> float:
        """The smallest cosine at which two prompts count as the same."""
        return 0.95 if self.semantic_similarity is None else self.semantic_similarity

    @model_validator(mode="after")
    def _possible(self) -> Novelty:
        if self.semantic_similarity is not None and self.embedding_model is None:
            raise ValueError(
                f"semantic_similarity is {self.semantic_similarity:g}, but embedding_model is unset: "
                "set it to a model's folder, or leave both unset"
            )
        return self


FigureBounds = Annotated[dict[Annotated[str, one_of("figure of diversity", FIGURES)], float], Field()]


class SteeringStrength(Section):
    """How strongly a run is steered: what each level changes."""

    levels: int = Field(default=3, ge=1)
    """The highest level. A batch that crosses a bound of `collapse.steer` raises it by one, another lowers it."""
    buffer: float = Field(default=0.1, ge=0, le=1)
    """Added to `mixing.buffer` per level, up to 1 in all."""
    temperature: float = Field(default=1.5, ge=1)
    """The logs of the weights by which prompts are sampled are divided by this per level, whatever the weighting."""
    breadth: float = Field(default=0.15, ge=0, le=1)
    """Added to `evolving.breadth` per level, up to 1 in all."""


class Collapse(Section):
    """What to do when the batch loses its diversity, or the creator writes nothing that can be used. Figures and their
    directions: docs/reference/diversity.md."""

    warn: FigureBounds = Field(default_factory=dict)
    """Bounds by figure, such as `effective_roots: 50`: a batch that crosses one is logged and stored as an event."""
    pause: FigureBounds = Field(default_factory=dict)
    """Bounds by figure: a batch that crosses one pauses the run at the end of its iteration."""
    steer: FigureBounds = Field(default_factory=dict)
    """Bounds by figure: after a batch that crosses one, the creator is steered (`steering`), before the run has to
    pause."""
    steering: SteeringStrength = SteeringStrength()
    """What steering changes."""
    starved: Literal["pause", "warn"] = "pause"
    """When none of an iteration's children was accepted: `pause` the run after the stage, with the commonest reason and
    an example, or `warn` and go on with prompts of the pool."""

    @property
    def rule(self) -> SteeringRule | None:
        """How the run is steered; None if it is not."""
        if not self.steer:
            return None
        return SteeringRule(self.steer, **dict(self.steering))

    @model_validator(mode="after")
    def _steers_first(self) -> Collapse:
        for name, bound in self.steer.items():
            pause = self.pause.get(name)
            if pause is not None and (pause >= bound if FIGURES[name] else pause <= bound):
                raise ValueError(
                    f"steer has {name}: {bound:g} and pause has {pause:g}, so the run would pause before it is "
                    f"steered: {'lower' if FIGURES[name] else 'raise'} the bound of pause, or leave it out"
                )
        return self


KeptName = Literal["last", "best"]


class Retention(Section):
    """Where checkpoints are stored, and what becomes of those that the run no longer needs."""

    store: str | None = None
    """An object store for checkpoints: `s3://BUCKET/FOLDER`, `gs://BUCKET/FOLDER`, or the absolute path of a folder
    that all machines see. Each machine fetches a checkpoint once (EVA_CACHE_DIR, EVA_CACHE_GB). null: the run's folder
    in the data directory, which all machines must share then."""
    keep: Literal["all"] | Annotated[tuple[KeptName, ...], Field(min_length=1)] = "all"
    """Checkpoints that stay on the disk: `all`, or a list of `last` and `best` (the highest mean reward of greedy
    responses to held-out prompts). Others are deleted at the end of an iteration, once no run needs them: this run
    needs the policy it plays with and its reference, a fork what it starts from."""

    @field_validator("store")
    @classmethod
    def _check_store(cls, store: str | None) -> str | None:
        return None if store is None else checked_store(store)


class Rollouts(Section):
    """The token record: the tokens of each response as they were sampled, with their log-probabilities."""

    keep: Literal["needed", "all"] | Annotated[int, Field(ge=1)] = "needed"
    """Which token records are kept: `needed` records tokens only if the loss needs them, and deletes those of an
    iteration when it is finished; `all` records them with every loss and deletes none; a number does, too, but deletes
    those of all but so many finished iterations."""


class Watchdog(Section):
    """When a stage without progress is reported, and when it fails."""

    tell_s: float = Field(default=600.0, gt=0)
    """After this many seconds without progress in a stage, store an event `stalled` that says what each worker is
    doing."""
    end_s: float = Field(default=7200.0, gt=0)
    """After this many seconds without progress, a stage fails. It should exceed what the workers' own time-outs and
    retries take (fleet.stall_s, training.timeout_s, the rewarder's)."""

    rewarder_s: float = Field(default=1800.0, gt=0)
    """Replace a reward process that finishes no call (of at most 32 prompts) for this many seconds, and ask for its
    prompts again one by one. A process whose model hangs ends itself much sooner; this finds one that is frozen or
    unreachable."""

    @model_validator(mode="after")
    def _in_order(self) -> Watchdog:
        if self.end_s < self.tell_s:
            raise ValueError(f"end_s is {self.end_s:g}, less than tell_s, which is {self.tell_s:g}: raise end_s")
        return self


class RunConfig(Section):
    """Everything that decides what a run does."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Start of the run's name; a short suffix makes it unique."""
    seed: int = Field(default=42, ge=0, lt=2**63)
    """Seed from which every draw is derived."""
    iterations: int = Field(default=3, ge=1)
    """Iterations to play, including the warm-up."""
    warm_start: bool = True
    """Train on the seed prompts in iteration 0, without a creator step. Set it to false if the model is already
    preference-tuned."""
    info_from: Literal["fresh", "reuse"] = "fresh"
    """`fresh` generates responses to the pool with the current policy; `reuse` takes the newest stored ones."""
    pool: Literal["last_batch", "archive"] = "last_batch"
    """The next pool: the last batch, or every prompt so far."""
    batch_from: Literal["creator", "same_prompts", "new_prompts"] = "creator"
    """What the solver trains on. `creator`: what the creator evolves. As controls, without a creator: `same_prompts`,
    all seed prompts in every iteration; `new_prompts`, in each iteration the next `prompts.per_iteration` of them."""
    prompts: Prompts
    """Seed prompts."""
    model: Model
    """The solver."""
    reward: RewardConfig
    """The reward model."""
    evolving: Evolving
    """How the creator evolves prompts."""
    generation: Generation = Generation()
    """How the solver's responses are sampled."""
    informativeness: Informativeness = Informativeness()
    """How the creator estimates informativeness."""
    sampling: Sampling = Sampling()
    """How the creator samples prompts."""
    mixing: Mixing = Mixing()
    """Children and buffer."""
    novelty: Novelty = Novelty()
    """When a child counts as new."""
    collapse: Collapse = Collapse()
    """Loss of diversity."""
    pairs: Pairs = Pairs()
    """Preference pairs."""
    training: Training = Training()
    """Preference optimisation."""
    checkpoints: Retention = Retention()
    """Which checkpoints are kept."""
    rollouts: Rollouts = Rollouts()
    """The token record."""
    evaluation: Evaluation = Evaluation()
    """Held-out evaluation."""
    audit: Audit = Audit()
    """Reward audit."""
    categories: Categories | None = None
    """Categories of prompts; unset: none."""
    fleet: Fleet = Fleet()
    """Engines."""
    watchdog: Watchdog = Watchdog()
    """Stages without progress."""
    tracking: list[Tracking] = Field(default_factory=list[Tracking])
    """Services that the run's figures are sent to: MLflow, Weights & Biases, trackio. The run goes on if one of them
    fails."""

    webhooks: list[Annotated[str, Field(min_length=1, max_length=60)]] = Field(default_factory=list[str])
    """Names of webhooks (`eva webhooks list`) that are told about this run: those that are told only about runs which
    name them, and others whose tags the run does not have."""

    def training_of(self, player: Player) -> Training:
        """The settings that train the weights of a player."""
        creator = self.evolving.creator
        return self.training if player == "solver" or creator is None else creator.training

    def model_of(self, player: Player) -> Model:
        """The first weights of a player; a creator is prompted as the solver is."""
        creator = self.evolving.creator
        if player == "solver" or creator is None or creator.model is None:
            return self.model
        return self.model.model_copy(update={"path": creator.model, "revision": None})

    @model_validator(mode="after")
    def _serves_adapters(self) -> RunConfig:
        creator = None if self.evolving.creator is None else self.evolving.creator.training
        store = self.checkpoints.store
        check_served_adapters(self.training, self.iterations, creator=creator, store=store)
        return self

    @property
    def records_tokens(self) -> bool:
        """Whether the tokens of the solver's responses are recorded."""
        return loss_facts(self.training.loss).online or self.rollouts.keep != "needed"

    @property
    def measures_likeness(self) -> bool:
        """Whether something depends on how much a child repeats: weights in sampling, or what a creator earns."""
        return self.novelty.pull > 0 or self.evolving.creator is not None

    def sampling_rule(self, flatten: float = 1.0) -> SamplingRule:
        """How prompts are sampled. `flatten`: what steering divides the logs of the weights by."""
        return replace(self.sampling.rule, pull=self.novelty.pull, flatten=flatten)

    @model_validator(mode="after")
    def _one_environment(self) -> RunConfig:
        prompts, reward = self.prompts.environment, self.reward
        if prompts is None or not isinstance(reward, EnvironmentReward):
            return self
        if (prompts.id, prompts.args) != (reward.id, reward.args):
            raise ValueError(
                f"prompts.environment is {prompts.id} with {prompts.args}, but reward is {reward.id} with "
                f"{reward.args}: give both the same id and args"
            )
        return self

    @model_validator(mode="after")
    def _pulled(self) -> RunConfig:
        if self.novelty.pull and self.sampling.sampler == "greedy":
            raise ValueError(
                f"novelty.pull is {self.novelty.pull:g}, but sampler greedy uses info alone: choose another sampler, "
                "or unset pull"
            )
        return self

    @model_validator(mode="after")
    def _stale(self) -> RunConfig:
        if self.sampling.staleness and self.info_from == "fresh":
            raise ValueError(
                f"sampling.staleness is {self.sampling.staleness:g}, but with info_from fresh every prompt of the pool "
                "has new responses: set info_from to reuse, or unset staleness"
            )
        return self

    @model_validator(mode="after")
    def _slices(self) -> RunConfig:
        size = self.prompts.per_iteration
        if (self.batch_from == "new_prompts") != (size is not None):
            raise ValueError(
                f"batch_from is {self.batch_from} and prompts.per_iteration is {'unset' if size is None else size}: "
                "batch_from new_prompts and prompts.per_iteration need each other; set or unset both"
            )
        return self

    def creates(self, iteration: int) -> bool:
        """Whether the creator plays in an iteration."""
        return self.batch_from == "creator" and (iteration > 0 or not self.warm_start)

    @property
    def overlap_obstacle(self) -> str | None:
        """Why children cannot be evolved while the solver is trained on the batch before; None if they can."""
        if self.batch_from != "creator":
            return f"batch_from is {self.batch_from}, so nothing is evolved"
        if self.info_from == "fresh":
            return "info_from is fresh, so the policy that is being trained has to answer the pool first"
        if self.evolving.asks_fleet:
            return "the run's own engines write the children, with weights that are being trained or while they rest"
        if self.collapse.steer:
            return "collapse.steer decides how the next prompts are sampled when the iteration is over"
        return None

    @property
    def overlaps(self) -> bool:
        """Whether children are evolved while the solver is trained on the batch before."""
        return self.evolving.overlap is not False and self.overlap_obstacle is None

    @model_validator(mode="after")
    def _possible_overlap(self) -> RunConfig:
        if self.evolving.overlap and (obstacle := self.overlap_obstacle) is not None:
            raise ValueError(
                f"evolving.overlap is true, but {obstacle}: change that, or leave overlap out, so that evolving waits "
                "for the training"
            )
        return self

    @model_validator(mode="after")
    def _cheap_probe(self) -> RunConfig:
        gate, n = self.evolving.gate, self.generation.n
        if gate is not None and gate.responses >= n:
            raise ValueError(
                f"evolving.gate.responses is {gate.responses}, but generation.n is {n}: such a probe costs as much as "
                "judging the prompt; allowed are at least 2 and fewer than n"
            )
        return self

    @model_validator(mode="after")
    def _second_opinion(self) -> RunConfig:
        own = self.evaluation.judges_own
        if bare := [name for name in own if self.evaluation.baseline_of(name) is None]:
            raise ValueError(
                f"evaluation.judges_own names {', '.join(bare)}, but evaluation.baseline does not: add the judge's own "
                "responses there"
            )
        if own and self.audit.reward is None:
            raise ValueError(
                f"evaluation.judges_own names {', '.join(own)}, but audit.reward is unset: only a second rewarder can "
                "show whether the judge's own responses are really better; set audit.reward"
            )
        return self

    @model_validator(mode="after")
    def _best_is_known(self) -> RunConfig:
        evaluation = self.evaluation
        held_out = evaluation.playground is not None or bool(evaluation.sets)
        if "best" in self.checkpoints.keep and not (held_out and evaluation.when == "each"):
            why = "there are no held-out prompts" if not held_out else "evaluation.when is end"
            raise ValueError(
                f"checkpoints.keep names best, but {why}, so it would never be known which is the best: set "
                "evaluation.sets and evaluation.when: each, or keep last or all"
            )
        return self

    @model_validator(mode="after")
    def _tracked_once(self) -> RunConfig:
        names = [tracking.name for tracking in self.tracking]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tracking lists {', '.join(twice)} more than once; remove the duplicate")
        return self

    @model_validator(mode="after")
    def _agreement(self) -> RunConfig:
        evaluation = self.evaluation
        held_out = evaluation.playground is not None or bool(evaluation.sets)
        if isinstance(self.reward, AgreementReward) and held_out and evaluation.reward is None:
            raise ValueError(
                "reward.kind is agreement, which says nothing of a single greedy response to a held-out prompt: set "
                "evaluation.reward to another rewarder, or evaluation.when to never without held-out prompts"
            )
        if isinstance(evaluation.reward, AgreementReward):
            raise ValueError(
                "evaluation.reward.kind is agreement, which says nothing of a single greedy response: choose "
                "another kind"
            )
        return self

    @model_validator(mode="after")
    def _ranking(self) -> RunConfig:
        check_ranking(self.training.loss, self.pairs.choice, self.generation.n)
        return self

    @property
    def rows_per_prompt(self) -> int:
        """What a prompt gives to a batch of the training, if all of it can be used: a pair, or n responses."""
        return self.generation.n if self.training.facts.online else 1

    @property
    def chunk_prompts(self) -> int | None:
        """How many prompts a chunk of semi-online training has; None: batches stay whole."""
        rows = self.training.chunk_rows
        return None if rows is None else rows // self.rows_per_prompt

    def steps_on(self, prompts: int) -> int:
        """Returns the optimiser steps on a chunk of this many prompts, of which nothing is left out."""
        return self.training.steps_on(prompts * self.rows_per_prompt)

    @model_validator(mode="after")
    def _on_policy(self) -> RunConfig:
        if not self.training.facts.online:
            return self
        if self.chunk_prompts == 0:
            raise ValueError(
                f"training.sync_every is {self.training.sync_every} steps of {self.training.batch} responses, fewer "
                f"than the {self.generation.n} responses to one prompt: raise sync_every or batch"
            )
        if self.generation.top_p != 1:
            raise ValueError(
                f"generation.top_p is {self.generation.top_p:g}, but loss {self.training.loss} compares the policy "
                "with what was sampled: where the unlikely tokens are left out, all others are likelier, and every "
                "ratio is off by as much; set top_p to 1"
            )
        if self.pairs != Pairs():
            raise ValueError(
                f"pairs is set, but loss {self.training.loss} makes no pairs: it trains on every response; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _win_rates(self) -> RunConfig:
        check_win_rates(
            self.training.loss, self.training.win_rates, self.reward.kind, gives_win_rates=gives_win_rates(self.reward)
        )
        return self
