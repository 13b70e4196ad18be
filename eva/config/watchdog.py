"""The watchdog's section: what a run does about a stage in which nothing advances."""

from __future__ import annotations

from pydantic import Field, model_validator

from eva.config.section import Section


class Watchdog(Section):
    """When a stage in which nothing advances is told, and when it is ended."""

    tell_s: float = Field(default=600.0, gt=0)
    """A stage in which nothing advances for so long is told, with what each worker has in hand (event `stalled`)."""
    end_s: float = Field(default=7200.0, gt=0)
    """A stage in which nothing advances for so long fails; longer than what the workers' own time-outs and retries
    take (fleet.stall_s, training.timeout_s, the rewarder's)."""

    rewarder_s: float = Field(default=1800.0, gt=0)
    """A reward process that ends no call (of 32 prompts at most) for so long is replaced, its prompts asked again one
    by one. It ends itself much sooner when its model hangs; this finds one that is frozen or cut off."""

    @model_validator(mode="after")
    def _in_order(self) -> Watchdog:
        if self.end_s < self.tell_s:
            raise ValueError(f"end_s is {self.end_s:g}, before tell_s {self.tell_s:g}: make it at least as long")
        return self
