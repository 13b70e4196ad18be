"""ORPO and SimPO by TRL's experimental trainers: no reference policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from typing_extensions import override

from workers.training.rows import Row

if TYPE_CHECKING:
    from workers.training.losses import Ingredients


class TokenRows(Dataset[dict[str, Any]]):
    """Rows as these trainers batch them: prompt and response in one, the prompt's labels masked by -100."""

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self._rows = [_labelled(row, "chosen") | _labelled(row, "rejected") for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    @override
    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]

    def map(self, function: Callable[..., Any], **_options: Any) -> TokenRows:
        """The trainers would render and tokenise texts here, and not as the engines did: nothing is left to do."""
        del function
        return self


def _labelled(row: Row, side: str) -> dict[str, list[int]]:
    prompt, response = row["prompt_ids"], row[f"{side}_ids"]
    return {
        f"{side}_input_ids": prompt + response,
        f"{side}_attention_mask": [1] * len(prompt + response),
        f"{side}_labels": [-100] * len(prompt) + response,
    }


class TokenORPOTrainer(ORPOTrainer):
    """ORPO that sends nothing."""

    @override
    def _send_telemetry(self) -> None:
        """Nothing leaves this machine."""


class TokenCPOTrainer(CPOTrainer):
    """CPO that sends nothing."""

    @override
    def _send_telemetry(self) -> None:
        """Nothing leaves this machine."""


def build_orpo(given: Ingredients) -> Any:
    """ORPO (Hong et al. 2024, equation 6); TRL's beta is the paper's lambda."""
    config = ORPOConfig(**_shared(given), beta=given.training.beta)
    return TokenORPOTrainer(args=config, **_parts(given))


def build_simpo(given: Ingredients) -> Any:
    """SimPO (Meng et al. 2024, equation 6): TRL's `simpo_gamma` is the paper's gamma, and divided by beta inside."""
    config = CPOConfig(
        **_shared(given), loss_type="simpo", cpo_alpha=0.0, beta=given.training.beta, simpo_gamma=given.training.gamma
    )
    return TokenCPOTrainer(args=config, **_parts(given))


def _shared(given: Ingredients) -> dict[str, Any]:
    return given.arguments | {"max_length": given.training.max_length, "remove_unused_columns": False}


def _parts(given: Ingredients) -> dict[str, Any]:
    return {
        "model": given.policy,
        "train_dataset": TokenRows(given.rows),
        "processing_class": given.tokenizer,
        "callbacks": list(given.callbacks),
    }
