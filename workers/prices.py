"""What an evolver's model costs per token, from the price map that LiteLLM brings: no network."""

from __future__ import annotations

import os
from typing import Any

from eva.measures.cost_estimate import Prices


def price_of(model: str | None) -> Prices | None:
    """USD per token of LiteLLM's `provider/model`, or None where its map does not know it."""
    if model is None:
        return None
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    known: dict[str, Any] = litellm.model_cost
    found = known.get(model) or known.get(model.partition("/")[2])
    if not found or "input_cost_per_token" not in found or "output_cost_per_token" not in found:
        return None
    return Prices(float(found["input_cost_per_token"]), float(found["output_cost_per_token"]))
