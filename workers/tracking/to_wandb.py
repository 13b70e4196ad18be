"""Weights & Biases: a run under eva's own id, so that a resumed run continues it."""

from __future__ import annotations

from typing import Any

import wandb

AXES = {"train/*": "training_step", "heldout/*": "policy", "win_rate/*": "policy"}
"""The axis of a metric's charts; for all other metrics it is the iteration."""


class WandbRun:
    """The W&B run. Steps are the points' numbers: the service drops a step that it has."""

    def __init__(self, options: dict[str, Any], opening: dict[str, Any]) -> None:
        self._run = wandb.init(
            project=options["project"],
            entity=options["entity"],
            mode=options["mode"],
            id=opening["identity"],
            name=opening["name"],
            config=opening["config"],
            resume="allow",
            allow_val_change=True,
            save_code=False,
            settings=wandb.Settings(console="off", disable_git=True, x_disable_stats=True, x_disable_meta=True),
        )
        for axis in ("iteration", *AXES.values()):
            self._run.define_metric(axis, hidden=True)
        self._run.define_metric("*", step_metric="iteration")
        for names, axis in AXES.items():
            self._run.define_metric(names, step_metric=axis)
        self.url = self._run.url or f"{self._run.dir} (offline)"

    def log(self, points: list[dict[str, Any]]) -> None:
        for point in points:
            self._run.log({**point["values"], point["axis"]: point["place"]}, step=point["number"], commit=True)

    def close(self, status: str) -> None:
        self._run.summary["eva_status"] = status
        self._run.finish(exit_code=1 if status == "failed" else 0)
