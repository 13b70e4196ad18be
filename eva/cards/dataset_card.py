"""The dataset card of a run's exports: a README with the YAML header that dataset hubs read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))

_KINDS = {
    "pairs": "preference pairs: `prompt`, `chosen`, `rejected` as TRL reads them (messages; texts where "
    "`model.template` is `none`), both rewards, their margin, the iteration, the prompt's number, the checkpoint",
    "prompts": "every prompt with its lineage: `parent`, `root`, `operator`, `depth`, `born` (-1 for a seed prompt)",
    "responses": "every response with its prompt, checkpoint, sample, seed, finish reason, reward; a row per rewarder",
    "judged": "every prompt of each pool and batch: informativeness, weight, Gumbel key, responses, rewards",
    "heldout": "every policy's responses to the held-out prompts, greedy and sampled, with their rewards",
}

_CARD = """---
pretty_name: {name}
tags: [preference, dpo, self-play, eva]
size_categories: ["{size}"]
configs:
{configs}
---

# {name}

Made with eva by asymmetric self-play: a creator evolved prompts that the solver was just about to be able to answer
well, and the solver learned from its own best and worst responses to them. {seeds:,} seed prompts grew to {prompts:,}
prompts in {iterations} iterations; {responses:,} responses were rewarded, and {pairs:,} preference pairs were used for
training.

| file | rows | holds |
|---|---|---|
{rows}

```python
from datasets import load_dataset
pairs = load_dataset("json", data_files="{name}-pairs.jsonl", split="train")   # for trl.DPOTrainer as it is
```

The texts come from language models and from the source of the seed prompts. They may be wrong or harmful; see that
source and the models' licences for the terms of use. The solver was `{model}`; rewards are of kind `{reward}`.

Config (SHA-256 `{config_hash}`; the seed is {seed}, and every draw derives from it):

```json
{config}
```
"""


def dataset_card(name: str, config: Mapping[str, Any], config_hash: str, counts: Mapping[str, int]) -> str:
    """Returns the card of a run, from its config without secrets and its counts: those of _KINDS, and `seeds`."""
    files = "\n".join(f"- config_name: {kind}\n  data_files: {name}-{kind}.jsonl" for kind in _KINDS)
    rows = "\n".join(f"| `{name}-{kind}.jsonl` | {counts[kind]:,} | {holds} |" for kind, holds in _KINDS.items())
    size = next((label for limit, label in _SIZES if counts["pairs"] < limit), "n>10M")
    return _CARD.format(
        name=name,
        size=size,
        configs=files,
        rows=rows,
        iterations=config["iterations"],
        seed=config["seed"],
        config_hash=config_hash,
        model=config["model"]["path"],
        reward=config["reward"]["kind"],
        config=json.dumps(config, indent=1, ensure_ascii=False, sort_keys=True).replace("```", "` ` `"),
        **{key: counts[key] for key in ("seeds", "prompts", "responses", "pairs")},
    )
