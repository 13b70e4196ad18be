"""What is measured: the sections about held-out prompts and about categories of prompts."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from eva.config.rewards import RewardConfig
from eva.config.section import Section

Difficulty = Literal["easy", "medium", "hard"]

INITIAL = "initial"
"""In place of a file with a baseline's responses: the initial model's own."""

MT_BENCH = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
"""The eight categories of MT-Bench."""
SLOT = "{}"


class Evaluation(Section):
    """evaluate: greedy and sampled responses to held-out prompts, which are never trained on."""

    playground: int | None = Field(default=None, ge=1, le=5000)
    """This many held-out prompts for each difficulty of the playground."""
    difficulties: tuple[Difficulty, ...] = Field(default=get_args(Difficulty), min_length=1)
    """Difficulties of the playground that are evaluated."""
    sets: dict[str, str] = Field(default_factory=dict)
    """Sets of held-out prompts, as NAME: prompt file."""
    reference_field: str | None = None
    """Key of the reference answers in the files of `sets`, a list of them where a row has `turns`; unset: there are
    none."""
    turns: int = Field(default=1, ge=1, le=8)
    """How many user turns of a conversation the policy responds to, where rows of `sets` have `turns`: 2 for MT-Bench.
    Each later turn continues with the policy's own responses, and is evaluated as a set of its own: NAME-turn-2."""
    n: int = Field(default=1, ge=1)
    """Sampled responses per prompt at temperature 1, besides the one greedy response."""
    reward: RewardConfig | None = None
    """Another rewarder for responses to held-out prompts; unset: the run's."""
    success: float = 1.0
    """A response counts as correct if its reward is at least this."""
    baseline: Literal["initial"] | dict[str, str] | None = None
    """What the greedy responses are compared with, for win rates. For each set, as NAME: a file of responses (`prompt`
    or `instruction` with `output`, `response` or `answer`, such as AlpacaEval's model_outputs.json), or `initial`, the
    initial model's own responses. `initial` alone covers every set. Unset: no comparison."""
    judges_own: tuple[str, ...] = ()
    """Sets whose baseline responses were written by the judge's own model: eva measures how much more often the judge
    prefers them than `audit.reward` does (self-preference)."""
    when: Literal["each", "end", "last", "never"] = "each"
    """`each` evaluates every policy; `end` only the initial model and the last policy; `last` only the last policy;
    `never` none, for a run that others are forked from."""

    @model_validator(mode="after")
    def _answers_the_baseline(self) -> Evaluation:
        baselines = self.baseline.values() if isinstance(self.baseline, dict) else (self.baseline,)
        if self.when in ("last", "never") and INITIAL in baselines:
            raise ValueError(
                f"when is {self.when}, but the baseline is the initial model's own responses, which need its "
                "evaluation: use end"
            )
        return self

    @field_validator("baseline", mode="before")
    @classmethod
    def _names_its_set(cls, value: object) -> object:
        if isinstance(value, str) and value != INITIAL:
            raise ValueError(f"allowed are {INITIAL}, or a file for each set, as {{SET: {value}}}")
        return value

    def baseline_of(self, name: str) -> str | None:
        """What a set is compared with: `initial`, the path of a file of responses, or None."""
        return self.baseline.get(name) if isinstance(self.baseline, dict) else self.baseline


class Categories(Section):
    """categorise: a zero-shot classifier gives each prompt of a batch a category, and reward and gap are reported by
    category and iteration (the paper's Figure 6)."""

    kind: Literal["nli", "embedding", "function"] = "nli"
    """`nli`: a model for natural language inference, asked which category's `hypothesis` a prompt entails;
    `embedding`: a sentence encoder, by the nearest hypothesis; `function`: your own."""
    model: str | None = None
    """For `nli` and `embedding`: a local folder or hub id in safetensors, such as facebook/bart-large-mnli. It runs on
    the driver's CPU. Relative to the config file's folder."""
    function: str | None = None
    """For `function`: `module:function`, which takes a prompt's text and the names, and returns one of them."""
    names: tuple[str, ...] = Field(default=MT_BENCH, min_length=2)
    """The categories; unset: MT-Bench's eight."""
    hypothesis: str = "This request is about {}."
    """What stands for a category, whose name replaces `{}`."""

    @model_validator(mode="after")
    def _source(self) -> Categories:
        wanted, other = ("function", "model") if self.kind == "function" else ("model", "function")
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"kind is {self.kind}: set {wanted}, and leave {other} unset")
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Categories:
        if len(set(self.names)) < len(self.names) or not all(name.strip() for name in self.names):
            raise ValueError(f"names are {', '.join(self.names)}: they have to be distinct texts")
        if SLOT not in self.hypothesis:
            raise ValueError(f"hypothesis is {self.hypothesis!r}: it needs {{}} where the category's name belongs")
        return self
