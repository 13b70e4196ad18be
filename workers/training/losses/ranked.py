"""Losses over ranked responses: all that a prompt's pairs name, best first, with two references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from typing_extensions import override

from eva.config import Training
from eva.solver.losses import mixture_weights
from workers.training.losses.configuration import trainer_config
from workers.training.losses.dpo import TokenDPOTrainer, padding_token, release_reference, token_figures
from workers.training.losses.reference_scores import score_rows

if TYPE_CHECKING:
    from workers.training.losses import Ingredients, Reference
    from workers.training.rows import Row

_COLUMNS = ("prompt_ids", "responses_ids", "rewards", "reference_logps", "initial_logps")
INITIAL_SHARE = 1 / 3


@dataclass(frozen=True, slots=True, eq=False)
class RankedBatch:
    """The input of a loss: tensors of shape (B, N), B prompts with up to N responses each, best first.

    `policy`: log-probability of the response under the policy, nats, summed over its tokens, with gradient.
    `reference`, `initial`: the same under the reference and under the initial model, without gradient; 0 for losses
    without them. `tokens`: the response's number of tokens. `rewards`: its reward. `present`: whether there is
    such a response; elsewhere log-probabilities and rewards are 0, and tokens 1.
    """

    policy: torch.Tensor
    reference: torch.Tensor
    initial: torch.Tensor
    tokens: torch.Tensor
    rewards: torch.Tensor
    present: torch.Tensor


RankedLoss = Callable[[RankedBatch, Training], torch.Tensor]
"""(batch, the config's training section) -> loss per prompt, shape (B,)."""


def plackett_luce(batch: RankedBatch, training: Training) -> torch.Tensor:
    """DPO over a whole ranking (Rafailov et al. 2023, appendix A.3); of two responses it is DPO."""
    scaled = training.beta * (batch.policy - batch.reference)
    return _listwise(scaled[:, None, :].expand(-1, scaled.shape[1], -1), batch.present)


def pro(batch: RankedBatch, training: Training) -> torch.Tensor:
    """Preference ranking optimisation (Song et al. 2024): sharper where rewards are further apart."""
    average = batch.policy / batch.tokens
    gaps = batch.rewards[:, :, None] - batch.rewards[:, None, :]
    behind = _not_better(batch.present)
    widest = gaps.masked_fill(~behind, 0.0).amax(dim=2)
    sharpness = torch.where(torch.eye(gaps.shape[1], dtype=torch.bool, device=gaps.device), widest[:, :, None], gaps)
    return _listwise(sharpness * average[:, None, :], batch.present) - training.beta * average[:, 0]


def inpo(batch: RankedBatch, training: Training) -> torch.Tensor:
    """Iterative Nash policy optimisation (Zhang et al. 2025), the best response against each other one."""
    share = INITIAL_SHARE if training.initial_share is None else training.initial_share
    pulled = batch.policy - batch.reference + share * (batch.reference - batch.initial)
    return _ahead_of_others(pulled, 1 / (2 * training.beta), batch.present)


def onpo(batch: RankedBatch, training: Training) -> torch.Tensor:
    """Optimistic Nash policy optimisation (Zhang et al. 2025), the best response against each other one.

    The method takes two steps from a secondary policy s_t: with the newest preferences to s_(t+1), and with them once
    more, as the guess of the next ones, to the policy: log pi_(t+1) = log s_t + 2 step. So s_(t+1) lies halfway
    between s_t and pi_(t+1), and no weights of its own are trained: the reference is s_t, and the step is doubled.
    """
    return _ahead_of_others(batch.policy - batch.reference, 1 / training.beta, batch.present)


def _ahead_of_others(scores_B_N: torch.Tensor, lead: float, present_B_N: torch.Tensor) -> torch.Tensor:
    """The mean square by which the lead of the best response over each other one differs from this one."""
    squares = (scores_B_N[:, :1] - scores_B_N - lead).square()
    others = present_B_N.clone()
    others[:, 0] = False
    return (squares * others).sum(dim=1) / others.sum(dim=1)


def _listwise(scores_B_N_N: torch.Tensor, present_B_N: torch.Tensor) -> torch.Tensor:
    """-sum over k of log softmax of response k among those not better than it; row k has their scores for place k."""
    behind = _not_better(present_B_N)
    places = torch.logsumexp(scores_B_N_N.masked_fill(~behind, -torch.inf), dim=2)
    own = scores_B_N_N.diagonal(dim1=1, dim2=2)
    return torch.where(present_B_N, places - own, 0.0).sum(dim=1)


def _not_better(present_B_N: torch.Tensor) -> torch.Tensor:
    """Which responses compete with response k, [B, k, N]: itself and those behind it. An absent one has itself."""
    count = present_B_N.shape[1]
    upper = torch.ones(count, count, dtype=torch.bool, device=present_B_N.device).triu()
    own = torch.eye(count, dtype=torch.bool, device=present_B_N.device)
    return (upper & present_B_N[:, None, :]) | own


class RankedTrainer(TokenDPOTrainer):
    """TRL's DPO trainer on ranked rows. Optimiser, devices and the names of its figures are the same."""

    def __init__(
        self,
        *,
        function: RankedLoss,
        training: Training,
        initial: Reference | None,
        earlier: Sequence[Reference],
        **arguments: Any,
    ) -> None:
        self._function, self._training, self._initial, self._earlier = function, training, initial, earlier
        super().__init__(**arguments)

    @override
    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = [*_COLUMNS]

    @override
    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Adds log-probabilities (nats, summed over each response) under the reference and the initial model."""
        rows: list[Any] = list(dataset)
        if self._reference is not None:
            mixed = (self._reference, *self._earlier)
            dataset = dataset.add_column("reference_logps", self._mean_logps(mixed, rows, batch_size))
        if self._initial is not None:
            dataset = dataset.add_column("initial_logps", self._mean_logps((self._initial,), rows, batch_size))
        return dataset

    def _mean_logps(self, policies: Sequence[Reference], rows: list[Any], batch_size: int) -> list[list[float]]:
        """The log-probability of each row's responses under the policies' geometric mean, newest first."""
        sums = [[0.0] * len(row["responses_ids"]) for row in rows]
        for weight, policy in zip(mixture_weights(len(policies)), policies, strict=True):
            scored = score_rows(
                policy, rows, lambda row: row["responses_ids"], self._scores, trainer=self, batch_size=batch_size
            )
            for total, own in zip(sums, scored, strict=True):
                total[:] = [before + weight * value for before, value in zip(total, own, strict=True)]
        return sums

    def _scores(self, model: Any, batch: Any) -> list[list[float]]:
        with torch.no_grad(), self.accelerator.autocast():
            flat = self._log_probs(model, batch)
        return [own.tolist() for own in flat.split(batch["present"].sum(dim=1).tolist())]

    def _log_probs(self, model: Any, inputs: Any) -> torch.Tensor:
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
            labels=labels,
            fused_lm_head=True,
        )
        return outputs.log_probs.sum(dim=1)

    @override
    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        present = inputs["present"]
        policy = torch.zeros(present.shape, device=present.device).masked_scatter(
            present, self._log_probs(model, inputs).float()
        )
        batch = RankedBatch(
            policy, inputs["reference"], inputs["initial"], inputs["tokens"], inputs["rewards"], present
        )
        last = present.sum(dim=1, keepdim=True) - 1
        worst = batch.policy.gather(1, last)[:, 0]
        self.note_pairs(batch.policy[:, 0], worst, batch.reference[:, 0], batch.reference.gather(1, last)[:, 0])
        ends = torch.cat([batch.policy[:, 0], worst])
        self.note(token_figures(ends, torch.cat([batch.tokens[:, 0], batch.tokens.gather(1, last)[:, 0]])))
        loss = self._function(batch, self._training).mean()
        return (loss, None) if return_outputs else loss


@dataclass(frozen=True, slots=True)
class RankedCollator:
    """Pads ranked rows into one batch: a sequence per response, and tables of prompts x responses."""

    pad_token_id: int

    def __call__(self, rows: list[Row]) -> dict[str, torch.Tensor]:
        """Returns `input_ids`, `attention_mask` and `completion_mask` of all responses, and (B, N) tables."""
        sequences = [(row["prompt_ids"], response) for row in rows for response in row["responses_ids"]]
        width = max(len(prompt) + len(response) for prompt, response in sequences)
        ids = torch.full((len(sequences), width), self.pad_token_id)
        attended, completed = torch.zeros_like(ids), torch.zeros_like(ids)
        for place, (prompt, response) in enumerate(sequences):
            end = len(prompt) + len(response)
            ids[place, :end] = torch.tensor([*prompt, *response])
            attended[place, :end] = 1
            completed[place, len(prompt) : end] = 1
        counts = torch.tensor([len(row["responses_ids"]) for row in rows])
        present = torch.arange(int(counts.max())) < counts[:, None]
        lengths = [[len(response) for response in row["responses_ids"]] for row in rows]
        zeros: list[list[float]] = [[0.0] * len(row["rewards"]) for row in rows]
        tables = {
            "tokens": (lengths, 1.0),
            "rewards": ([row["rewards"] for row in rows], 0.0),
            "reference": ([row["reference_logps"] for row in rows] if "reference_logps" in rows[0] else zeros, 0.0),
            "initial": ([row["initial_logps"] for row in rows] if "initial_logps" in rows[0] else zeros, 0.0),
        }
        return {
            "input_ids": ids,
            "attention_mask": attended,
            "completion_mask": completed,
            "present": present,
            **{name: _table(values, present, empty) for name, (values, empty) in tables.items()},
        }


def _table(values: list[list[float]] | list[list[int]], present: torch.Tensor, empty: float) -> torch.Tensor:
    flat = torch.tensor([float(value) for of_prompt in values for value in of_prompt])
    return torch.full(present.shape, empty).masked_scatter(present, flat)


def build_ranked(ingredients: Ingredients, function: RankedLoss) -> Any:
    """Returns a trainer that minimises the mean of `function` over the prompts of a batch."""
    config = trainer_config(
        DPOConfig, ingredients.arguments, beta=ingredients.training.beta, precompute_ref_log_probs=True
    )
    return release_reference(
        RankedTrainer(
            function=function,
            training=ingredients.training,
            model=ingredients.policy,
            reference=ingredients.reference,
            initial=ingredients.initial,
            earlier=ingredients.earlier,
            args=config,
            data_collator=RankedCollator(padding_token(ingredients.tokenizer)),
            train_dataset=Dataset.from_list(list(ingredients.rows)),
            processing_class=ingredients.tokenizer,
            callbacks=list(ingredients.callbacks),
        )
    )
