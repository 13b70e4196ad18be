"""trackio: a run with the name of eva's run, on this machine or in a Space."""

from __future__ import annotations

from typing import Any

import trackio  # pyright: ignore[reportMissingImports] - an environment of its own may have it


class TrackioRun:
    """The trackio run. Steps are the points' numbers. How a run ended cannot be recorded."""

    def __init__(self, options: dict[str, Any], opening: dict[str, Any]) -> None:
        self._run = trackio.init(
            project=options["project"],
            name=opening["name"],
            space_id=options["space"],
            config={**opening["config"], "eva_run": opening["identity"]},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self.url = f"project {options['project']}, run {opening['name']}"

    def log(self, points: list[dict[str, Any]]) -> None:
        for point in points:
            trackio.log({**point["values"], point["axis"]: point["place"]}, step=point["number"])

    def close(self, status: str) -> None:
        del status
        trackio.finish()
