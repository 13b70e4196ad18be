"""The section about categories of prompts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from eva.config.section import Section

MT_BENCH = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
"""The eight categories of MT-Bench."""
SLOT = "{}"


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
