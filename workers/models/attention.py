"""Which implementation of attention a model is loaded with. The choice can change what the model computes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

from eva.errors import ConfigError

Attention = Literal["auto", "flex", "flash", "eager"]
_NAMES = {"flex": "flex_attention", "flash": "flash_attention_2", "eager": "eager"}


def attention_arguments(config: Any, choice: Attention = "auto") -> dict[str, str]:
    """Returns the keyword arguments of `from_pretrained` for a model with this transformers config.

    `auto` leaves the choice to transformers, except for models whose attention is soft-capped, as in Gemma 2:
    transformers' fused attention silently ignores the caps, and vLLM does not. Raises ConfigError.
    """
    if choice == "flash" and find_spec("flash_attn") is None:
        raise ConfigError(
            "training.attention is flash, but the package flash-attn is not installed",
            expected="flash-attn for the installed torch and CUDA",
            next_move="Install it, or set training.attention to flex or auto",
        )
    if choice != "auto":
        return {"attn_implementation": _NAMES[choice]}
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    return {"attn_implementation": "eager"} if capped else {}
