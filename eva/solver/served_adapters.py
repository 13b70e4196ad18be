"""Adapters that engines serve: their ranks, and which runs have none."""

from __future__ import annotations

from typing import Protocol

SERVED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks of adapters that vLLM makes room for."""


class ServedLora(Protocol):
    """The part of `training.lora` that decides what is served."""

    @property
    def rank(self) -> int: ...

    @property
    def serve(self) -> str: ...


class AdaptedTraining(Protocol):
    """The part of a config's `training` that decides what is served."""

    @property
    def lora(self) -> ServedLora | None: ...

    @property
    def mode(self) -> str: ...

    @property
    def enabled(self) -> bool: ...


def room_for(rank: int) -> int:
    """Returns the rank that vLLM makes room for where adapters have up to this one, which is at most the highest."""
    return next(served for served in SERVED_RANKS if served >= rank)


def serves_adapters(training: AdaptedTraining) -> bool:
    """Whether checkpoints have an adapter beside their merged weights, which the engines load instead."""
    return training.lora is not None and training.lora.serve == "adapter"


def served_rank(training: AdaptedTraining, iterations: int) -> int | None:
    """The highest rank of an adapter that the engines of a run are to serve: the updates of all iterations add up,
    unless every iteration trains the first policy. None: they serve merged weights."""
    if training.lora is None or not serves_adapters(training):
        return None
    return training.lora.rank * (1 if training.mode == "scratch" else iterations)


def check_served_adapters(
    training: AdaptedTraining, iterations: int, *, creator: AdaptedTraining | None, store: str | None
) -> None:
    """Raises ValueError for a run with adapters that its engines cannot serve.

    `creator`: how the creator's weights are trained, if it has its own; `store`: where checkpoints are, if in a store.
    """
    if creator is not None and serves_adapters(creator):
        raise ValueError(
            "evolving.evolver.training.lora.serve is adapter: engines serve adapters of the solver alone; use merged "
            "for a creator"
        )
    rank, most = served_rank(training, iterations), SERVED_RANKS[-1]
    if rank is None:
        return
    obstacle = None
    if rank > most:
        obstacle = f"the adapter of the last policy would have rank {rank}, and vLLM serves at most {most}"
    elif creator is not None:
        obstacle = "the creator has weights of its own, which the same engines load in place of the solver's"
    elif store is not None:
        obstacle = "checkpoints.store is set, and machines fetch whole checkpoints from a store"
    elif not training.enabled:
        obstacle = "training.enabled is false, so no adapter is trained"
    if obstacle is not None:
        raise ValueError(f"training.lora.serve is adapter, but {obstacle}: change that, or use merged")
