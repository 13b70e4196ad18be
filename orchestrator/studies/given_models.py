"""The models that a study starts from: folders, hub ids, and solvers of the playground made from other seeds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from eva.studies.study import StudyConfig
from orchestrator.launch.made_models import make_model

_SEEDED = re.compile(r"playground:(\d{1,9})")
_MAKER = "workers.playground.make_model"


def model_paths(study: StudyConfig, data_dir: str | Path) -> dict[str, str]:
    """Returns the path of each given model by its name; a solver from another seed lies in the data directory."""
    return {
        name: str(_folder(int(match[1]), Path(data_dir))) if (match := _SEEDED.fullmatch(name)) else name
        for name in study.models
    }


def missing_models(paths: Mapping[str, str]) -> list[str]:
    """Returns the names of the solvers that have to be made first, of models by name with their paths."""
    return [name for name, path in paths.items() if _SEEDED.fullmatch(name) and not Path(path).is_dir()]


def make_models(names: Iterable[str], data_dir: Path, say: Callable[[str], None]) -> None:
    """Makes those of the named solvers that are missing, which takes about ten minutes each on two cores.

    One that exists is kept, and one that is half made is made again. Raises InfrastructureError.
    """
    for name in names:
        match = _SEEDED.fullmatch(name)
        if match is not None and not (folder := _folder(int(match[1]), data_dir)).is_dir():
            say(f"makes the given model {name}, about ten minutes: {folder}")
            make_model(f"the given model {name}", folder, _MAKER, match[1])


def _folder(seed: int, data_dir: Path) -> Path:
    return data_dir / "models" / f"playground-{seed}"
