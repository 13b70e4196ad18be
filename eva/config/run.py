"""The config of a run: all sections together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from eva.config.creator import Evolving, Informativeness, Mixing, Sampling
from eva.config.rewards import Audit, RewardConfig, gives_win_rates
from eva.config.section import Section, one_of
from eva.config.solver import Evaluation, Fleet, Generation, Model, Pairs, Training
from eva.config.tracking import Tracking
from eva.measures.diversity import FIGURES
from eva.solver.losses import check_win_rates


class Prompts(Section):
    """Where the seed prompts come from."""

    path: str | None = None
    """File of prompts: .jsonl, .json, .csv, .tsv, .parquet or .txt (one per line). Relative to the config
    file's folder."""
    dataset: str | None = None
    """Instead of a file: a dataset of the hub by its id, or a folder that `save_to_disk` wrote."""
    split: str = "train"
    """Split of the dataset."""
    playground: int | None = Field(default=None, ge=8)
    """Instead of a file: this many seed prompts of the playground's world."""
    field: str | None = None
    """Key that holds the prompt's text or messages; unset: the first of `prompt`, `instruction`, `question`, `text`,
    `turns`, `messages`, `conversations`, `conversation` that a row has."""
    system_field: str | None = None
    """Key that holds a system message for the prompt; unset: none, or `system` beside messages."""
    topic_field: str | None = None
    """Key that holds the prompt's topic; unset: none is stored."""
    limit: int | None = Field(default=None, ge=1)
    """Use only the first so many prompts."""

    @model_validator(mode="after")
    def _one_source(self) -> Prompts:
        given = sum(source is not None for source in (self.path, self.dataset, self.playground))
        if given != 1:
            raise ValueError("give one of `path` (a file), `dataset` (a hub id or folder), `playground` (a number)")
        return self


class Novelty(Section):
    """What makes a child new, beyond its text being none of the run's."""

    similarity: float = Field(default=0.95, gt=0, le=1)
    """A child whose word triples overlap those of any prompt of the run by at least this much (Jaccard, estimated by
    MinHash) is refused; 1: only equal texts. Ancestors count too: a low value refuses small changes of long prompts."""
    protected: list[str] = Field(default_factory=list)
    """Files of prompts, such as benchmarks', that no prompt of the run may overlap. Relative to the config file."""
    protected_words: int = Field(default=13, ge=2)
    """So many words in a row in common with a protected text are an overlap; shorter protected texts count whole."""
    checks: list[str] = Field(default_factory=list)
    """Functions of yours, `module:function`, text -> None or the reason why the child is refused."""
    embedding_model: str | None = None
    """Local folder of a sentence encoder or language model, in safetensors: a child that means nearly the same as a
    prompt of the run is refused. Unset: no such check. Relative to the config file's folder."""
    semantic_similarity: float | None = Field(default=None, gt=0, le=1)
    """embedding_model: cosine of two prompts' embeddings from which a child is refused; unset: 0.95. Which value suits
    depends on the model."""

    @property
    def cosine(self) -> float:
        """The cosine from which two prompts count as the same."""
        return 0.95 if self.semantic_similarity is None else self.semantic_similarity

    @model_validator(mode="after")
    def _possible(self) -> Novelty:
        if self.semantic_similarity is not None and self.embedding_model is None:
            raise ValueError(
                f"semantic_similarity is {self.semantic_similarity:g}, but there is no embedding_model: "
                "give the folder of one, or leave both unset"
            )
        return self


FigureBounds = Annotated[dict[Annotated[str, one_of("figure of diversity", FIGURES)], float], Field()]


class Collapse(Section):
    """When the batch has lost its diversity. Figures and their directions: docs/reference/diversity.md."""

    warn: FigureBounds = Field(default_factory=dict)
    """Bounds by figure, e.g. `effective_roots: 50`: a batch beyond one is logged and told as an event."""
    pause: FigureBounds = Field(default_factory=dict)
    """Bounds by figure: a batch beyond one pauses the run at the end of its iteration."""


class Watchdog(Section):
    """When a stage in which nothing advances is told, and when it is ended."""

    tell_s: float = Field(default=600.0, gt=0)
    """A stage in which nothing advances for so long is told, with what each worker has in hand (event `stalled`)."""
    end_s: float = Field(default=7200.0, gt=0)
    """A stage in which nothing advances for so long fails; longer than what the workers' own time-outs and retries
    take (fleet.stall_s, training.timeout_s, the rewarder's)."""

    rewarder_s: float = Field(default=1800.0, gt=0)
    """A reward process that ends no call (of 32 prompts at most) for so long is replaced, its prompts asked again one
    by one. It ends itself much sooner when its model hangs; this finds one that is frozen or cut off."""

    @model_validator(mode="after")
    def _in_order(self) -> Watchdog:
        if self.end_s < self.tell_s:
            raise ValueError(f"end_s is {self.end_s:g}, before tell_s {self.tell_s:g}: make it at least as long")
        return self


class RunConfig(Section):
    """Everything that decides what a run does."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Stem of the run's name; a short suffix makes it unique."""
    seed: int = Field(default=42, ge=0, lt=2**63)
    """Seed that every draw derives from."""
    iterations: int = Field(default=3, ge=1)
    """Iterations to play, the warm-up included."""
    warm_start: bool = True
    """Iteration 0 trains on the seed prompts without a creator step; False if the model is preference-tuned already."""
    info_from: Literal["fresh", "reuse"] = "fresh"
    """`fresh` answers the pool with the current policy; `reuse` takes its newest stored responses."""
    pool: Literal["last_batch", "archive"] = "last_batch"
    """The next pool: the last batch, or every prompt so far."""
    prompts: Prompts
    """Seed prompts."""
    model: Model
    """The solver."""
    reward: RewardConfig
    """The reward model."""
    evolving: Evolving
    """The creator's evolving."""
    generation: Generation = Generation()
    """The solver's answers."""
    informativeness: Informativeness = Informativeness()
    """The creator's estimate."""
    sampling: Sampling = Sampling()
    """The creator's sampling."""
    mixing: Mixing = Mixing()
    """Children and buffer."""
    novelty: Novelty = Novelty()
    """What makes a child new."""
    collapse: Collapse = Collapse()
    """Loss of diversity."""
    pairs: Pairs = Pairs()
    """Preference pairs."""
    training: Training = Training()
    """Preference optimisation."""
    evaluation: Evaluation = Evaluation()
    """Held-out evaluation."""
    audit: Audit = Audit()
    """Reward audit."""
    fleet: Fleet = Fleet()
    """Engines."""
    watchdog: Watchdog = Watchdog()
    """Stages that stand still."""
    tracking: list[Tracking] = Field(default_factory=list[Tracking])
    """Services that are told of the run: MLflow, Weights & Biases, trackio. None of them can hurt it."""

    @model_validator(mode="after")
    def _stale(self) -> RunConfig:
        if self.sampling.staleness and self.info_from == "fresh":
            raise ValueError(
                f"sampling.staleness is {self.sampling.staleness:g}, but with info_from fresh every "
                "prompt of the pool has just been answered: allowed with info_from reuse"
            )
        return self

    @model_validator(mode="after")
    def _cheap_probe(self) -> RunConfig:
        gate, n = self.evolving.gate, self.generation.n
        if gate is not None and gate.responses >= n:
            raise ValueError(
                f"evolving.gate.responses is {gate.responses}, but generation.n is {n}: a probe that is "
                "no cheaper than the judgement saves nothing; allowed are 2 or more, fewer than n"
            )
        return self

    @model_validator(mode="after")
    def _second_opinion(self) -> RunConfig:
        own = self.evaluation.judges_own
        if bare := [name for name in own if self.evaluation.baseline_of(name) is None]:
            raise ValueError(
                f"evaluation.judges_own names {', '.join(bare)}, which evaluation.baseline does not: "
                "there are no answers of the judge to compare with"
            )
        if own and self.audit.reward is None:
            raise ValueError(
                f"evaluation.judges_own names {', '.join(own)}, but there is no audit.reward: a judge "
                "that likes its own answers may be right; name a second rewarder to tell"
            )
        return self

    @model_validator(mode="after")
    def _tracked_once(self) -> RunConfig:
        names = [tracking.name for tracking in self.tracking]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tracking names {', '.join(twice)} more than once")
        return self

    @model_validator(mode="after")
    def _win_rates(self) -> RunConfig:
        check_win_rates(
            self.training.loss, self.training.win_rates, self.reward.kind, gives_win_rates=gives_win_rates(self.reward)
        )
        return self
