"""The room that an engine has for an adapter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from eva.solver.served_adapters import room_for
from workers.training.adapters.adapter_files import Adapter


@dataclass(frozen=True, slots=True)
class AdapterRoom:
    """Room for one adapter in an engine: the highest rank, and which modules it may adapt (`training.lora.targets`)."""

    rank: int
    targets: Literal["all-linear"] | tuple[str, ...]

    def holding(self, adapter: Adapter | None) -> Self:
        """Returns this room, or a larger one if the adapter needs it."""
        return self if adapter is None or adapter.rank <= self.rank else replace(self, rank=adapter.rank)

    def arguments(self, folder: str) -> dict[str, Any]:
        """Returns keyword arguments for vLLM's EngineArgs, for the model of a folder.

        Without names of modules vLLM makes room in the output layer, too, and then cannot measure a canary on a CPU.
        """
        return {
            "enable_lora": True,
            "max_loras": 1,
            "max_lora_rank": room_for(self.rank),
            "lora_target_modules": self._module_names(folder),
        }

    def _module_names(self, folder: str) -> list[str]:
        if self.targets != "all-linear":
            return sorted(self.targets)
        from workers.training.policies import linear_modules  # imports torch, which a driver never needs

        return linear_modules(folder)
