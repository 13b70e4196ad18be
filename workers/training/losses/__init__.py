"""Losses by name.

`dpo`: DPO, and the losses that TRL's DPO trainer has
`reference_free`: SimPO and ORPO
`sppo`: SPPO
`kto`: KTO
`ranked`: Plackett-Luce, PRO, INPO and ONPO, over ranked responses
`online`: RLOO, GRPO and Dr. GRPO; `policy_gradient`: what they minimise; `response_rows`: what they train on
`own`: a user's loss over pairs
`reference_scores`: the reference's log-probabilities of all rows
`configuration`: the configs of their trainers

A new loss is a file or a function beside these, a line in `LOSSES`, and one in eva/solver/losses.py, which says what it
is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from eva.config import Training
from eva.runtime.user_functions import load_function
from eva.runtime.worker_reports import Note, ignore_note
from eva.solver.losses import TRL_PREFIX
from eva.types import SamplingSettings
from workers.training.losses.dpo import build_dpo, build_length_desensitised
from workers.training.losses.kto import build_kto
from workers.training.losses.online import build_online
from workers.training.losses.own import build_own
from workers.training.losses.ranked import build_ranked, inpo, onpo, plackett_luce, pro
from workers.training.losses.reference_free import build_orpo, build_simpo
from workers.training.losses.sppo import build_sppo
from workers.training.rows import Row


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """How a trainer gets the reference, once: it scores the rows with it and frees it.

    `tokens`: of a batch, padding included; None: as many pairs as the policy takes. `note`: told of every batch.
    `sampled`: whether the responses were sampled from it, so that they can estimate how far the policy moves from it.
    """

    load: Callable[[], Any]
    tokens: int | None = None
    note: Note = ignore_note
    sampled: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """How an online loss's responses were sampled, and how the policy scores them before it changes.

    `tokens` and `note` are as a Reference has them.
    """

    sampling: SamplingSettings
    tokens: int | None = None
    note: Note = ignore_note


@dataclass(frozen=True, slots=True, eq=False)
class Ingredients:
    """What a loss builds its trainer from; `sampled` is for online losses.

    `reference` and `initial`, the second one, are None if unused; `reference` also if it is the policy itself and the
    loss is online. `earlier` are the policies, newest first, that an optimistic loss mixes with the reference.

    `arguments`: keyword arguments for the trainer's config class. `callbacks`: to be passed to the trainer.
    """

    policy: Any
    reference: Reference | None
    tokenizer: Any
    rows: tuple[Row, ...]
    training: Training
    arguments: dict[str, Any]
    callbacks: tuple[Any, ...]
    initial: Reference | None = None
    earlier: tuple[Reference, ...] = ()
    sampled: Sampled | None = None


class LossTrainer(Protocol):
    """What a loss builds: a `transformers.Trainer`, which is ready to train and can go on with other rows."""

    model: Any
    args: Any
    accelerator: Any
    optimizer: Any
    lr_scheduler: Any
    callback_handler: Any

    def train(self) -> object:
        """Takes the steps of all epochs over its rows. A second call goes on with the optimiser's state."""
        ...

    def take_rows(self, rows: tuple[Row, ...]) -> None:
        """Replaces the rows; a reference scores the new ones, and is freed."""
        ...

    def create_optimizer(self) -> Any:
        """Creates the optimiser, if there is none, and returns it."""
        ...

    def remove_callback(self, callback: Any) -> None:
        """Removes a callback by its class, if there is one."""
        ...


Build = Callable[[Ingredients], Any]

LOSSES: dict[str, Build] = {
    "dpo": build_dpo,
    "ipo": partial(build_dpo, loss_type="ipo"),
    "rdpo": partial(build_dpo, loss_type="robust"),
    "ld_dpo": build_length_desensitised,
    "sppo": build_sppo,
    "sppo_hard": partial(build_dpo, loss_type="sppo_hard"),
    "apo_zero": partial(build_dpo, loss_type="apo_zero"),
    "orpo": build_orpo,
    "simpo": build_simpo,
    "kto": build_kto,
    "plackett_luce": partial(build_ranked, function=plackett_luce),
    "pro": partial(build_ranked, function=pro),
    "inpo": partial(build_ranked, function=inpo),
    "onpo": partial(build_ranked, function=onpo),
    "rloo": build_online,
    "grpo": build_online,
    "dr_grpo": build_online,
}
"""Name -> function that returns a LossTrainer."""


def find_loss(name: str, *, ranked: bool = False) -> Build:
    """Returns the builder of a loss by name, `trl:TYPE` (TRL's) or `module:function` (a user's). Raises ConfigError.

    `ranked`: the user's function takes ranked responses in place of pairs.
    """
    if name in LOSSES:
        return LOSSES[name]
    if name.startswith(TRL_PREFIX):
        return partial(build_dpo, loss_type=name.removeprefix(TRL_PREFIX))
    batch, what = ("RankedBatch", "prompt") if ranked else ("PairBatch", "pair")
    function = load_function(
        name,
        what="loss",
        expected=f"`module:function`, a function (batch: {batch}, training: Training) -> a loss per {what}",
        arguments=["batch", "training"],
    )
    return partial(build_ranked if ranked else build_own, function=function)
