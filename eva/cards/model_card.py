"""The model card of a published checkpoint: a README with the YAML header that model hubs read."""

from __future__ import annotations

import json
import re

from eva.config import RunConfig
from eva.config.solver import Model

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

_CARD = """---
{base}library_name: transformers
pipeline_tag: text-generation
tags: [eva, self-play, preference-optimisation]
---

# {title}

Trained with eva by asymmetric self-play: a creator kept evolving prompts that the model was just about to be able to
answer well, and the model learned from its own best and worst responses to them.

| | |
|---|---|
| started from | {start} |
| run | `{run}` |
| checkpoint | {number} of {iterations}{steps} |
| loss | `{loss}`, beta {beta:g}, learning rate {rate:g} |
| rewarded by | `{rewarder}` |
| digest | `{digest}` |

The digest is the SHA-256 of `manifest.json`, which lists every file with its own. The licence of the model that it
started from applies.
"""


def model_card(
    config: RunConfig, *, title: str, run: str, number: int, digest: str, rewarder: str, steps: int | None
) -> str:
    """Returns the README of a checkpoint. `steps`: optimiser steps of its last training; None if there was none."""
    return _CARD.format(
        base=_base(config.model),
        title=title,
        start=f"`{config.model.path}`" + (f" at `{config.model.revision}`" if config.model.revision else ""),
        run=run,
        number=number,
        iterations=config.iterations,
        steps=f", {steps:,} optimiser steps in its iteration" if steps else "",
        loss=config.training.loss,
        beta=config.training.beta,
        rate=config.training.learning_rate,
        rewarder=rewarder,
        digest=digest,
    )


def _base(model: Model) -> str:
    """The header's line that names the model of the hub that it started from; nothing for a folder."""
    return f"base_model: {json.dumps(model.path)}\n" if _HUB_ID.fullmatch(model.path) else ""
