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
    """Rows in the form of these trainers: prompt and response joined, the prompt's labels masked by -100."""

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self._rows = [_labelled(row, "chosen") | _labelled(row, "rejected") for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    @override
    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]

    def map(self, function: Callable[..., Any], **_options: Any) -> TokenRows:
        """Returns the rows unchanged: the trainers would tokenise again here, and differently from the engines."""
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
    """ORPO without telemetry."""

    @override
    def _send_telemetry(self) -> None:
        """Sends nothing."""


class TokenCPOTrainer(CPOTrainer):
    """CPO without telemetry."""

    @override
    def _send_telemetry(self) -> None:
        """Sends nothing."""


def build_orpo(ingredients: Ingredients) -> Any:
    """ORPO (Hong et al. 2024, equation 6); TRL's beta is the paper's lambda."""
    config = ORPOConfig(**_shared(ingredients), beta=ingredients.training.beta)
    return TokenORPOTrainer(args=config, **_parts(ingredients))


def build_simpo(ingredients: Ingredients) -> Any:
    """SimPO (Meng et al. 2024, equation 6): TRL's `simpo_gamma` is the paper's gamma, and divided by beta inside."""
    config = CPOConfig(
        **_shared(ingredients),
        loss_type="simpo",
        cpo_alpha=0.0,
        beta=ingredients.training.beta,
        simpo_gamma=ingredients.training.gamma,
    )
    return TokenCPOTrainer(args=config, **_parts(ingredients))


def _shared(ingredients: Ingredients) -> dict[str, Any]:
    return ingredients.arguments | {"max_length": ingredients.training.max_length, "remove_unused_columns": False}


def _parts(ingredients: Ingredients) -> dict[str, Any]:
    return {
        "model": ingredients.policy,
        "train_dataset": TokenRows(ingredients.rows),
        "processing_class": ingredients.tokenizer,
        "callbacks": list(ingredients.callbacks),
    }
