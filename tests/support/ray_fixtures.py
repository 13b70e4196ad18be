"""One Ray cluster and one real fleet for the whole test session: starting them is what costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eva.config import RunConfig
from eva.settings import Settings
from eva.types import Checkpoint


def tiny_config(model: str | Path, **fleet: object) -> RunConfig:
    """A run on a tiny model: an engine on the CPU with a small cache."""
    return RunConfig.model_validate(
        {
            "prompts": {"playground": 8},
            "model": {"path": str(model)},
            "reward": {"kind": "mock"},
            "evolving": {"evolver": {"kind": "playground"}},
            "generation": {"max_tokens": 64},
            "fleet": {"cpu_cache_gb": 0.25, "stall_s": 120.0, **fleet},
        }
    )


def tiny_checkpoint(folder: Path, number: int = 0) -> Checkpoint:
    """A checkpoint of a model that a test made, with its canary and manifest."""
    from tests.support import tiny_models
    from workers.training.checkpoints import seal

    tiny_models.record_canary(folder)
    return Checkpoint(number, number, str(folder), seal(folder))


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A Ray cluster of this machine, connected. Its workers are forked, with their libraries imported."""
    from tests.support.warm_python import warm_workers
    from workers.cluster import connection

    settings = Settings(tmp_path_factory.mktemp("ray"), None, None)
    with warm_workers():
        connection.connect(settings)
        yield settings
        connection.disconnect()


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Checkpoint]:
    """Two policies of one shape with tied embeddings: what a reload in place gets wrong."""
    from tests.support import tiny_models

    folder = tmp_path_factory.mktemp("policies")
    first, second = (tiny_checkpoint(tiny_models.llama(folder / str(n), tied=True, seed=n), n) for n in (0, 1))
    return first, second


@pytest.fixture(scope="session")
def fleet(ray_cluster: Settings, policies: tuple[Checkpoint, Checkpoint]) -> Iterator[object]:
    """A fleet of one real vLLM engine that serves `policies[0]` at first; a test loads what it needs."""
    from workers.fleet.fleet import start_fleet

    config = tiny_config(policies[0].path)
    with start_fleet(
        config, policies[0].path, logs_dir=ray_cluster.logs_dir, views_dir=ray_cluster.data_dir / "views"
    ) as started:
        started.load(policies[0])
        yield started
