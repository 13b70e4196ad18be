"""RLOO, GRPO and Dr. GRPO: every response is trained on, as it was sampled.

The policy that sampled is scored once, before the first step: its log-probabilities by the trainer are what the ratios
compare with, so that they are 1 until a step is taken. The engine's differ by its rounding; `importance_cap` corrects
for that. A single step needs no such pass, and where the reference is the policy that sampled, it needs no other.

TRL's trainers for these losses generate by themselves. This one has their loss, and is tested against it.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import gather_object
from peft import PeftModel
from transformers import Trainer, TrainerCallback, TrainingArguments
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model
from typing_extensions import override

from eva.solver.advantages import rule_named
from workers.training.losses.configuration import trainer_config
from workers.training.losses.policy_gradient import Gradient, PolicyBatch, batch_sum, divisor, policy_gradient
from workers.training.losses.reference_scores import reference_batches
from workers.training.losses.response_rows import Logprobs, PromptOrder, ScoredResponses
from workers.training.policies import place_reference

if TYPE_CHECKING:
    from workers.training.losses import Ingredients, Reference, Sampled
    from workers.training.rows import Row

_OF_TRL = ("disable_dropout", "max_length")
"""Arguments that only TRL's own configs know."""
_FIGURES = (
    *("clip_share", "ratio", "entropy", "gap", "kl_k3", "kl_reference"),
    *("reward", "advantage", "square", "response_tokens"),
)


class PolicyGradientTrainer(Trainer):
    """Minimises the policy gradient over responses; logs the figures of each step."""

    # the loss is divided by what the whole batch holds
    loss_is_scaled_for_ga = True

    def __init__(self, ingredients: Ingredients, sampled: Sampled, padding: int, arguments: Any) -> None:
        self._training, self._sampled, self._reference = ingredients.training, sampled, ingredients.reference
        self._responses, self._padding = ScoredResponses(ingredients.rows, padding), padding
        self._sums = torch.zeros(len(_FIGURES) + 3, dtype=torch.float64)
        super().__init__(
            model=ingredients.policy,
            args=arguments,
            data_collator=self._collate,
            train_dataset=self._responses,
            processing_class=ingredients.tokenizer,
            callbacks=[*ingredients.callbacks, _BeforeSteps(self)],
        )

    def take_rows(self, rows: tuple[Row, ...]) -> None:
        """Replaces the rows; a reference is loaded again, scores them, and is freed."""
        self.train_dataset = self._responses = ScoredResponses(rows, self._padding)
        if self._reference is not None:
            self.score_reference(self._reference)

    def _collate(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        return self._responses.collate(indices)

    def score(self, model: Any, tokens: int | None, note: Any) -> list[Logprobs]:
        """Returns the log-probabilities of each response's tokens under a model that all processes hold or share.

        Each process takes equally many batches, because those that share the weights must call the model equally often.
        """
        batches = reference_batches(
            self._responses.lengths(), pairs=self.args.per_device_train_batch_size, tokens=tokens, responses=1
        )
        processes = self.accelerator.num_processes
        batches += batches[: -len(batches) % processes]
        own = batches[self.accelerator.process_index :: processes]
        results: list[tuple[int, Logprobs]] = []
        for number, indices in enumerate(own):
            note(f"scores responses: batch {number + 1} of {len(own)}")
            batch = self._prepare_inputs(self._responses.collate(indices))
            with torch.no_grad(), self.compute_loss_context_manager():
                outputs = _forward(model, batch)
            of_tokens = batch["labels"][:, 1:] != -100
            for line, index in enumerate(indices):
                results.append((index, outputs.log_probs[line][of_tokens[line]].float().cpu().numpy()))
        if processes > 1:
            results = gather_object(results)
        scored = dict(results)
        return [scored[index] for index in range(len(self._responses))]

    def score_reference(self, reference: Reference) -> None:
        """Scores the responses under the reference, and frees it."""
        model = place_reference(reference.load(), self.accelerator, self._sampled.sampling.temperature)
        self._responses.reference = self.score(model, reference.tokens, reference.note)
        del model
        self.accelerator.free_memory()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def begin(self) -> None:
        """Scores the responses under the policy that is about to be trained, if more than one step is taken."""
        training, responses = self._training, self._responses
        if self.state.max_steps > 1 or training.kl == "reward":
            model: Any = self.model_wrapped
            model.eval()
            responses.old = self.score(model, self._sampled.tokens, self._sampled.note)
        if training.kl == "reward" and responses.old is not None and responses.reference is not None:
            responses.advantages = self._penalised(responses.old, responses.reference)

    def _penalised(self, old: Sequence[Logprobs], reference: Sequence[Logprobs]) -> list[float]:
        """Returns the advantages of rewards less `beta` times log pi/ref of the response, summed over its tokens."""
        by_prompt: dict[int, list[int]] = {}
        for index, row in enumerate(self._responses.rows):
            by_prompt.setdefault(row.number, []).append(index)
        rule, advantages = rule_named(self._training.advantage_rule), np.zeros(len(self._responses))
        for indices in by_prompt.values():
            penalties = [float((old[index] - reference[index]).sum()) for index in indices]
            rewards_N = np.array([self._responses.rows[index].reward for index in indices])
            rewards_N -= self._training.beta * np.array(penalties)
            if len(indices) > 1:
                advantages[indices] = np.nan_to_num(rule(rewards_N[None])[0])
        return advantages.tolist()

    @override
    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return PromptOrder([row.number for row in self._responses.rows], self.args.seed)

    @override
    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """Returns the forward passes of a step, and what their loss is divided by, on all devices together."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = [[len(batch["labels"]), int((batch["labels"][:, 1:] != -100).sum())] for batch in batches]
        held = torch.tensor(counts, dtype=torch.float32, device=device).reshape(-1, 2).sum(dim=0)
        responses, tokens = self.accelerator.reduce(held, reduction="sum")
        return batches, divisor(responses, tokens, self._training.length_handling, self._sampled.sampling.max_tokens)

    @override
    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = _forward(model, inputs)
        new_B_T = outputs.log_probs
        old_B_T = inputs.get("old", new_B_T.detach())
        batch = PolicyBatch(
            new_B_T,
            old_B_T,
            inputs["engine"],
            inputs.get("reference", old_B_T),
            inputs["labels"][:, 1:] != -100,
            inputs["advantages"],
        )
        gradient = policy_gradient(batch, self._training)
        summed = batch_sum(gradient.terms, batch.tokens_B_T, self._training.length_handling)
        # gradients are averaged over the devices, and the divisor counts what all of them hold
        loss = summed / num_items_in_batch * self.accelerator.num_processes
        self._note(batch, gradient, outputs.entropy.detach(), inputs["rewards"])
        return (loss, outputs) if return_outputs else loss

    def _note(self, batch: PolicyBatch, gradient: Gradient, entropy_B_T: torch.Tensor, rewards_B: torch.Tensor) -> None:
        """Adds a forward pass to the sums that the figures of a step are means of."""
        tokens_B_T = batch.tokens_B_T
        moved_B_T = batch.new_B_T.detach() - batch.old_B_T
        ratios = torch.ones_like(gradient.ratio) if gradient.ratio.shape[1] == 1 else tokens_B_T
        sums = [
            (gradient.clipped * ratios).sum(),
            (gradient.ratio * ratios).sum(),
            (entropy_B_T * tokens_B_T).sum(),
            ((batch.old_B_T - batch.engine_B_T).abs() * tokens_B_T).sum(),
            ((moved_B_T.exp() - moved_B_T - 1) * tokens_B_T).sum(),
            gradient.kl_B_T.sum(),
            rewards_B.sum(),
            batch.advantages_B.sum(),
            batch.advantages_B.square().sum(),
            tokens_B_T.sum(),
            ratios.sum(),
            tokens_B_T.sum(),
            torch.tensor(len(rewards_B)),
        ]
        self._sums += torch.stack([value.detach().double().cpu() for value in sums])

    @override
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means over all devices to what a step logs, and starts new sums."""
        if "loss" in logs:
            summed: Any = self.accelerator.reduce(self._sums.to(self.args.device, torch.float32), reduction="sum")
            figures = _figures(dict(zip(_FIGURES, summed.tolist()[:-3], strict=True)), *summed.tolist()[-3:])
            if self._responses.reference is None:
                del figures["kl_reference"]
            logs |= figures
            self._sums = torch.zeros_like(self._sums)
        super().log(logs, start_time)


def _figures(sums: dict[str, float], ratios: float, tokens: float, responses: float) -> dict[str, float]:
    over: dict[str, float] = {"clip_share": ratios, "ratio": ratios, "entropy": tokens, "gap": tokens}
    means = {name: total / max(over.get(name, responses), 1.0) for name, total in sums.items()}
    mean, square = means.pop("advantage"), means.pop("square")
    return means | {"advantage_sd": max(square - mean * mean, 0.0) ** 0.5}


class _BeforeSteps(TrainerCallback):
    """Lets the trainer score the policy once it is on its devices."""

    def __init__(self, trainer: PolicyGradientTrainer) -> None:
        self._trainer = trainer

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer.begin()


def _forward(model: Any, batch: Any) -> Any:
    """Returns log-probabilities and entropies of the responses' tokens, computed without the batch's full logits."""
    return model(
        batch["input_ids"],
        attention_mask=batch["attention_mask"],
        use_cache=False,
        labels=batch["labels"],
        fused_lm_head=True,
    )


def build_online(ingredients: Ingredients) -> PolicyGradientTrainer:
    """Returns the trainer. The config names the advantages, the length handling, the bounds and the KL."""
    policy, arguments, sampled = ingredients.policy, ingredients.arguments, ingredients.sampled
    assert sampled is not None
    plain: Any = policy.get_base_model() if isinstance(policy, PeftModel) else policy
    if arguments["disable_dropout"]:
        disable_dropout_in_model(plain)
    add_fused_lm_head(plain, sampled.sampling.temperature, outputs=("log_probs", "entropy"))
    if isinstance(policy, PeftModel) and arguments["gradient_checkpointing"]:
        policy.enable_input_require_grads()
    config = trainer_config(
        TrainingArguments,
        {name: value for name, value in arguments.items() if name not in _OF_TRL},
        remove_unused_columns=False,
    )
    tokenizer = ingredients.tokenizer
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    trainer = PolicyGradientTrainer(ingredients, sampled, padding, config)
    if ingredients.reference is not None:
        trainer.score_reference(ingredients.reference)
    return trainer
