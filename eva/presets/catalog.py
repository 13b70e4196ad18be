"""What the configs that come with eva say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from eva.config.files import overridden, preset_values


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset is for, in a line each; `needs` says data, keys, GPUs and disk."""

    name: str
    summary: str
    needs: str
    model: str
    loss: str


def read_preset(name: str) -> Preset:
    """A preset's own words, its comment at the top, and its model and loss."""
    text = (resources.files("eva.presets") / f"{name}.yaml").read_text("utf-8")
    comment = [line.removeprefix("#").strip() for line in text.partition("name:")[0].splitlines()]
    summary, _, needs = " ".join(comment).partition(" Needs: ")
    config = overridden(preset_values(name), [])
    return Preset(name, summary, needs or "nothing but two CPU cores", config.model.path, config.training.loss)
