"""The learning rate of semi-online training: a schedule over the iteration's prompts, not over its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LambdaLR

from eva.config import Training
from workers.training.schedule import rate_share

if TYPE_CHECKING:
    from workers.training.losses import LossTrainer


class ChunkSchedule:
    """The learning-rate schedule of an iteration: every chunk covers its share of it, however many steps it takes.

    `planned`: the iteration's steps if each prompt gives one pair, for which the schedule is laid out.
    """

    def __init__(self, trainer: LossTrainer, training: Training, planned: int) -> None:
        self._optimiser = trainer.create_optimizer()
        self._before, self._taken, self._pace = 0, 0, 1.0
        share = rate_share(training, warm_up=trainer.args.get_warmup_steps(planned), steps=planned)
        self._rate = lambda taken: share(self._before + (taken - self._taken) * self._pace)
        # The trainer steps it, and keeps it when it trains again.
        trainer.lr_scheduler = self._scheduler = LambdaLR(self._optimiser, self._rate)

    def begin(self, before: int, taken: int, planned: int, steps: int) -> None:
        """Begins a chunk of `steps` steps, of which `planned` were planned. Those before took `taken` of `before`."""
        self._before, self._taken, self._pace = before, taken, planned / steps
        self._scheduler.last_epoch = taken
        rates = [base * self._rate(taken) for base in self._scheduler.base_lrs]
        for group, rate in zip(self._optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        self._scheduler._last_lr = rates
