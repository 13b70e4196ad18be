"""The configs that come with eva."""

from __future__ import annotations

from fastapi import APIRouter

from api.schema import Schema
from eva.config.files import presets, read_preset

router = APIRouter(prefix="/v1/presets", tags=["presets"])


class Preset(Schema):
    """A config that comes with eva."""

    name: str
    """Its name."""
    summary: str
    """What it is for."""
    needs: str
    """The data, keys, GPUs and disk space that it needs."""
    model: str
    """The model that it starts from."""
    loss: str
    """The loss that it trains with."""


class Presets(Schema):
    """The configs that come with eva."""

    items: list[Preset]
    """All of them."""


@router.get("")
def list_presets() -> Presets:
    """The configs that come with eva, and what they need."""
    return Presets(items=[Preset.model_validate(read_preset(name)) for name in presets()])
