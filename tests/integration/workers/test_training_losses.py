"""Each loss equals its formula, evaluated in float64 on log-probabilities read off the model, and learns."""

from __future__ import annotations

import inspect
import itertools
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import trl.trainer.utils
from trl.trainer.dpo_trainer import DPOTrainer

from eva.config import Model, Training
from eva.config.solver import Lora
from eva.errors import ConfigError, TrainingFailedError
from eva.solver import losses as names
from eva.types import Checkpoint, TrainingJob, TrainingResult
from tests.integration.workers.test_training_losses_ranked import FORMULAS as RANKED_FORMULAS
from tests.support import tiny_models
from workers.training import checkpoint_files
from workers.training.arguments import trainer_arguments
from workers.training.job import publish_model, run_job
from workers.training.losses import LOSSES, Ingredients, Reference, find_loss
from workers.training.policies import add_adapters, merge_adapters

pytestmark = pytest.mark.usefixtures("one_thread")

ONLINE = {name for name, loss in names.LOSSES.items() if loss.online}
"""Losses without pairs: their formulas are in test_policy_gradient.py."""
MINE = "tests.support.loss_functions:margin_dpo"
BETA, GAMMA, FLIP, LENGTH, ALPHA = 0.3, 0.7, 0.2, 0.4, 0.25
ROWS = tuple(
    {
        "prompt_ids": [1, 10 + row],
        "chosen_ids": [30 + row, 41, *range(50, 50 + row), 2],
        "rejected_ids": [70 + row, *range(80, 84 + row % 2), 2],
        "chosen_reward": 0.9 - row / 10,
        "rejected_reward": 0.1 + row / 20,
    }
    for row in range(4)
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Policy and reference: two models that differ."""
    folder = tmp_path_factory.mktemp("models")
    return tiny_models.llama(folder / "policy"), tiny_models.llama(folder / "reference", seed=1)


@dataclass(frozen=True)
class Measured:
    """Float64, one value per pair; `chosen`, `rejected` are sums over the response, `tokens` its length."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor
    shared_chosen: torch.Tensor
    shared_rejected: torch.Tensor
    prompt_and_chosen: torch.Tensor


def row_logps(model: Any, row: Any, side: str) -> torch.Tensor:
    """The log-probability of each token of prompt and response but the first."""
    ids = torch.tensor([row["prompt_ids"] + row[f"{side}_ids"]])
    with torch.no_grad():
        return model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]


def token_logps(model: Any, row: Any, side: str) -> torch.Tensor:  # of the response
    return row_logps(model, row, side)[len(row["prompt_ids"]) - 1 :]


def measure(folder: Path) -> Measured:
    """The rows' log-probabilities, one sequence at a time, nothing padded, nothing of TRL."""
    model = checkpoint_files.load_policy(folder).double()
    columns: dict[str, list[float]] = {name: [] for name in Measured.__dataclass_fields__}
    for row in ROWS:
        shared = min(len(row["chosen_ids"]), len(row["rejected_ids"]))
        for side in ("chosen", "rejected"):
            answer = token_logps(model, row, side)
            columns[side].append(answer.sum().item())
            columns[f"{side}_tokens"].append(len(answer))
            columns[f"shared_{side}"].append(answer[:shared].sum().item())
            if side == "chosen":
                columns["prompt_and_chosen"] += row_logps(model, row, side).tolist()
    return Measured(**{name: torch.tensor(values, dtype=torch.float64) for name, values in columns.items()})


def log_sigmoid(x: torch.Tensor) -> torch.Tensor:
    return -torch.log1p(torch.exp(-x))


def ratios(p: Measured, r: Measured) -> tuple[torch.Tensor, torch.Tensor]:
    return p.chosen - r.chosen, p.rejected - r.rejected


def dpo(p: Measured, r: Measured) -> torch.Tensor:
    w, l = ratios(p, r)  # noqa: E741 (the paper's letter)
    return -log_sigmoid(BETA * (w - l))


def robust(p: Measured, r: Measured) -> torch.Tensor:
    w, l = ratios(p, r)  # noqa: E741
    return ((1 - FLIP) * -log_sigmoid(BETA * (w - l)) - FLIP * -log_sigmoid(BETA * (l - w))) / (1 - 2 * FLIP)


def ipo(p: Measured, r: Measured) -> torch.Tensor:
    w, l = ratios(p, r)  # noqa: E741
    return (w / p.chosen_tokens - l / p.rejected_tokens - 1 / (2 * BETA)) ** 2


def length_desensitised(p: Measured, r: Measured) -> torch.Tensor:
    def weighed(m: Measured) -> torch.Tensor:
        chosen = m.shared_chosen + LENGTH * (m.chosen - m.shared_chosen)
        return chosen - (m.shared_rejected + LENGTH * (m.rejected - m.shared_rejected))

    return -log_sigmoid(BETA * (weighed(p) - weighed(r)))


def soft_sppo(p: Measured, r: Measured) -> torch.Tensor:
    w, l = ratios(p, r)  # noqa: E741
    wins = [
        torch.tensor([row[key] for row in ROWS], dtype=torch.float64) for key in ("chosen_reward", "rejected_reward")
    ]
    return ((w - (wins[0] - 0.5) / BETA) ** 2 + (l - (wins[1] - 0.5) / BETA) ** 2) / 2


def hard_sppo(p: Measured, r: Measured) -> torch.Tensor:
    w, l = ratios(p, r)  # noqa: E741
    return (w - 1 / (2 * BETA)) ** 2 + (l + 1 / (2 * BETA)) ** 2


def apo_zero(p: Measured, r: Measured) -> torch.Tensor:
    w, l = ratios(p, r)  # noqa: E741
    return 1 - torch.sigmoid(BETA * w) + torch.sigmoid(BETA * l)


def orpo(p: Measured, r: Measured) -> torch.Tensor:
    def log_odds(average: torch.Tensor) -> torch.Tensor:
        return average - torch.log(1 - torch.exp(average))

    w, l = p.chosen / p.chosen_tokens, p.rejected / p.rejected_tokens  # noqa: E741
    return -p.prompt_and_chosen.mean() - BETA * log_sigmoid(log_odds(w) - log_odds(l))


def simpo(p: Measured, r: Measured) -> torch.Tensor:
    return -log_sigmoid(BETA * p.chosen / p.chosen_tokens - BETA * p.rejected / p.rejected_tokens - GAMMA)


def my_own(p: Measured, r: Measured) -> torch.Tensor:
    w, l = ratios(p, r)  # noqa: E741
    gaps = torch.tensor([row["chosen_reward"] - row["rejected_reward"] for row in ROWS], dtype=torch.float64)
    return -log_sigmoid(BETA * (w - l) - gaps)


Formula = Callable[[Measured, Measured], torch.Tensor]
FORMULAS: dict[str, Formula] = {
    "dpo": dpo,
    "rdpo": robust,
    "ipo": ipo,
    "ld_dpo": length_desensitised,
    "sppo": soft_sppo,
    "sppo_hard": hard_sppo,
    "apo_zero": apo_zero,
    "orpo": orpo,
    "simpo": simpo,
    "trl:sigmoid": dpo,
    "trl:apo_zero": apo_zero,
    MINE: my_own,
}


def diverging(slope: Callable[[torch.Tensor], torch.Tensor]) -> Formula:
    """-log sigma(beta (f'(t_w) - f'(t_l))) with t = pi/ref (Wang et al. 2023, theorem 1)."""

    def loss(p: Measured, r: Measured) -> torch.Tensor:
        w, l = ratios(p, r)  # noqa: E741
        return -log_sigmoid(BETA * (slope(torch.exp(w)) - slope(torch.exp(l))))

    return loss


DIVERGENCES = {
    "reverse_kl": lambda t: torch.log(t) + 1,
    "forward_kl": lambda t: -1 / t,
    "js_divergence": lambda t: torch.log(2 * t / (1 + t)),
    "alpha_divergence": lambda t: (1 - t ** (ALPHA - 1)) / (1 - ALPHA),
}


def training(loss: str, **more: Any) -> Training:
    return Training(
        loss=loss,
        beta=BETA,
        gamma=GAMMA,
        length_alpha=LENGTH,
        divergence_alpha=ALPHA,
        batch=4,
        flip_rate=FLIP if names.loss_facts(loss).needs_flip_rate else 0.0,
        **more,
    )


def played(asked: Training, folders: tuple[Path, Path], output: Path, **of_reference: Any) -> tuple[Any, float]:
    """The trainer that a job would use, and its loss of the rows as one padded batch."""
    policy, reference = folders
    arguments = trainer_arguments(asked, seed=0, n_devices=1, gpu=False, output_dir=str(output))
    trainer = find_loss(asked.loss)(
        Ingredients(
            checkpoint_files.load_policy(policy),
            None
            if names.loss_facts(asked.loss).reference_free
            else Reference(lambda: checkpoint_files.load_policy(reference), **of_reference),
            tiny_models.tokenizer(),
            ROWS,
            asked,
            arguments,
            (),
        )
    )
    batch = trainer._prepare_inputs(trainer.data_collator([trainer.train_dataset[row] for row in range(len(ROWS))]))
    trainer.model.train()
    return trainer, float(trainer.compute_loss(trainer.model, batch).detach())


@pytest.mark.parametrize("name", ["orpo", "simpo"])
def test_log_probabilities_in_parts_and_their_gradients_equal_those_of_full_logits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five parts of a vocabulary of 259, with Gemma's soft cap on the logits."""
    monkeypatch.setattr(trl.trainer.utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", 64)
    asked = training(name)
    arguments = trainer_arguments(asked, seed=0, n_devices=1, gpu=False, output_dir=str(tmp_path / "out"))
    policy = checkpoint_files.load_policy(tiny_models.gemma2(tmp_path / "model"))
    trainer = find_loss(name)(Ingredients(policy, None, tiny_models.tokenizer(), ROWS, asked, arguments, ()))
    batch = trainer._prepare_inputs(trainer.data_collator([trainer.train_dataset[row] for row in range(len(ROWS))]))
    found: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []
    full_logits: Any = super(type(trainer), trainer)
    for forward in (trainer.concatenated_forward, full_logits.concatenated_forward):
        chosen, rejected, _, _, likelihood = forward(trainer.model, batch)
        trainer.model.zero_grad()
        (chosen.sum() - rejected.sum() + likelihood).backward()
        gradients = [weights.grad.clone() for weights in trainer.model.parameters()]
        found.append(([chosen.detach(), rejected.detach(), likelihood.detach()], gradients))
    (parts, parts_gradients), (full, full_gradients) = found
    for one, other in zip([*parts, *parts_gradients], [*full, *full_gradients], strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6 if one.dim() < 2 else 1e-5)


@pytest.fixture(scope="module")
def measured(folders: tuple[Path, Path]) -> tuple[Measured, Measured]:
    return measure(folders[0]), measure(folders[1])


@pytest.mark.parametrize("name", FORMULAS)
def test_a_loss_equals_its_formula(
    name: str, folders: tuple[Path, Path], measured: tuple[Measured, Measured], tmp_path: Path
) -> None:
    expected = FORMULAS[name](*measured).mean().item()
    assert played(training(name), folders, tmp_path)[1] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", [*FORMULAS, MINE])
def test_log_probabilities_mean_the_same_under_every_loss(
    name: str, folders: tuple[Path, Path], measured: tuple[Measured, Measured], tmp_path: Path
) -> None:
    trainer, _ = played(training(name), folders, tmp_path)
    stored = trainer._stored_metrics if names.loss_facts(name).reference_free else trainer._metrics
    figures = {key: values[0] for key, values in stored["train"].items()}
    policy = measured[0]
    for side in ("chosen", "rejected"):
        summed, tokens = getattr(policy, side), getattr(policy, f"{side}_tokens")
        assert figures[f"logps_sum/{side}"] == pytest.approx(summed.mean().item(), rel=1e-4)
        assert figures[f"logps_per_token/{side}"] == pytest.approx((summed / tokens).mean().item(), rel=1e-4)


@pytest.mark.parametrize("name", ["dpo", "ld_dpo", "sppo"])
def test_the_kl_is_the_estimate_k3_over_the_tokens_of_the_responses(
    name: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    trainer, _ = played(training(name), folders, tmp_path, sampled=True)
    policy, reference = (checkpoint_files.load_policy(folder).double() for folder in folders)
    estimates: list[float] = []
    for row, side in itertools.product(ROWS, ("chosen", "rejected")):
        r = (token_logps(policy, row, side) - token_logps(reference, row, side)).exp()
        estimates.append((r - 1 - r.log()).sum().item())
    assert trainer._metrics["train"]["kl_k3"] == pytest.approx([sum(estimates) / len(estimates)], rel=1e-4)
    assert "kl_k3" not in played(training(name), folders, tmp_path)[0]._metrics["train"]


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_an_f_divergence_equals_its_formula(
    divergence: Any, folders: tuple[Path, Path], measured: tuple[Measured, Measured], tmp_path: Path
) -> None:
    expected = diverging(DIVERGENCES[divergence])(*measured).mean().item()
    asked = training("dpo", divergence=divergence)
    assert played(asked, folders, tmp_path)[1] == pytest.approx(expected, rel=1e-4)


def test_the_formulas_tell_the_losses_apart(measured: tuple[Measured, Measured]) -> None:
    found = {name: formula(*measured).mean().item() for name, formula in FORMULAS.items()}
    distinct = {round(value, 3) for value in found.values()}
    assert len(distinct) == len(FORMULAS) - 2  # trl:sigmoid is dpo, trl:apo_zero is apo_zero
    assert all(math.isfinite(value) for value in found.values())


def test_every_loss_has_a_formula_here_a_builder_and_a_description() -> None:
    assert set(LOSSES) == set(names.LOSSES) <= {*FORMULAS, *RANKED_FORMULAS, "kto", *ONLINE}


def test_the_loss_types_of_trl_are_those_of_the_installed_release() -> None:
    found = re.findall(r'loss_type == "(\w+)"', inspect.getsource(DPOTrainer._compute_loss))
    assert tuple(found) == names.TRL_TYPES


def test_a_function_that_cannot_be_imported_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"loss 'no_such_module:f': importing 'no_such_module' failed"):
        find_loss("no_such_module:f")


# Short trainings: 32 pairs, 8 steps.


@pytest.fixture(scope="module")
def model(folders: tuple[Path, Path]) -> Model:
    return Model(path=str(folders[0]))


@pytest.fixture(scope="module")
def initial(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return publish_model(model, Training(), tmp_path_factory.mktemp("initial"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {
            "number": number,
            "prompt": f"prompt {number}",
            "chosen": "a" * (2 + number % 5),
            "chosen_reward": 0.9,
            "rejected": "cd" * (1 + number % 4),
            "rejected_reward": 0.1,
        }
        for number in range(32)
    ]
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def play(asked: Training, model: Model, initial: Checkpoint, pairs: Path, folder: Path) -> TrainingResult:
    return run_job(TrainingJob(1, 0, initial, initial, str(pairs), str(folder), seed=7), asked, model)


def short(loss: str, **more: Any) -> Training:
    return Training(
        loss=loss,
        beta=0.1,
        learning_rate=1e-3,
        batch=8,
        max_steps=8,
        adam_beta2=0.95,
        flip_rate=0.1 if names.loss_facts(loss).needs_flip_rate else 0.0,
        **more,
    )


@pytest.mark.parametrize("name", [*(name for name in LOSSES if name not in ONLINE), MINE, "trl:exo_pair", "trl:aot"])
def test_a_loss_opens_the_margin_between_chosen_and_rejected(
    name: str, model: Model, initial: Checkpoint, pairs: Path, tmp_path: Path
) -> None:
    first, *_, last = play(short(name), model, initial, pairs, tmp_path).steps
    assert last.values["rewards/margins"] > first.values["rewards/margins"]
    assert last.values["loss"] < first.values["loss"]
    assert name == "kto" or last.values["rewards/accuracies"] > 0.85  # its responses stand alone
    assert ("logps_weighted/chosen" in last.values) == (name == "ld_dpo")
    assert ("logps_per_token/chosen" in last.values) == (name != "kto")
    of_pairs = name not in RANKED_FORMULAS and name != "kto"
    assert ("kl_k3" in last.values) == (of_pairs and not names.loss_facts(name).reference_free)
    assert not {"kl", "logps/chosen", "logps/rejected"} & set(last.values)


def test_a_loss_without_a_reference_loads_none(
    model: Model, initial: Checkpoint, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def load(folder: str | Path, **more: Any) -> Any:
        loaded.append(str(folder))
        return original(folder, **more)

    original = checkpoint_files.load_policy
    monkeypatch.setattr(checkpoint_files, "load_policy", load)
    for name in ("simpo", "dpo"):
        play(short(name).model_copy(update={"max_steps": 1}), model, initial, pairs, tmp_path / name)
    canaries = [folder for folder in loaded if folder != initial.path]
    assert len(canaries) == 2
    assert loaded.count(initial.path) == 3  # the policy of either, the reference of dpo


@pytest.mark.parametrize("name", ["simpo", "orpo", "sppo"])
def test_accumulated_batches_train_like_whole_ones(
    name: str, model: Model, initial: Checkpoint, pairs: Path, tmp_path: Path
) -> None:
    three = short(name).model_copy(update={"max_steps": 3})
    whole = play(three, model, initial, pairs, tmp_path / "whole")
    parts = play(three.model_copy(update={"per_device_batch": 4}), model, initial, pairs, tmp_path / "parts")
    for key in ("loss", "logps_sum/chosen"):
        # orpo averages its likelihood over the tokens of a forward pass, which differ in number
        assert [step.values[key] for step in parts.steps] == pytest.approx(
            [step.values[key] for step in whole.steps], rel=0.05 if name == "orpo" else 2e-3, abs=2e-3
        )


def test_sppo_refuses_rewards_that_are_not_win_rates(
    model: Model, initial: Checkpoint, pairs: Path, tmp_path: Path
) -> None:
    scores = tmp_path / "scores.jsonl"
    scores.write_text(pairs.read_text().replace('"chosen_reward": 0.9', '"chosen_reward": 3.5'))
    with pytest.raises(TrainingFailedError, match=r"a pair has the reward 3\.5.*win_rates to bradley_terry"):
        play(short("sppo"), model, initial, scores, tmp_path / "run")


def test_rmsprop_trains_too_and_keeps_half_the_state(
    model: Model, initial: Checkpoint, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[torch.optim.RMSprop] = []
    original = torch.optim.RMSprop.__init__

    def spy(self: torch.optim.RMSprop, *given: Any, **more: Any) -> None:
        made.append(self)
        original(self, *given, **more)

    monkeypatch.setattr(torch.optim.RMSprop, "__init__", spy)
    steps = play(short("dpo", optimiser="rmsprop"), model, initial, pairs, tmp_path).steps
    assert len(made) == 1
    assert steps[-1].values["rewards/margins"] > 0.1


def test_a_prompt_longer_than_allowed_is_dropped_and_counted(
    model: Model, initial: Checkpoint, pairs: Path, tmp_path: Path
) -> None:
    # `<user>prompt 9<assistant>` with its BOS has 26 bytes, prompts of two digits one more
    asked = short("dpo", max_prompt_length=26).model_copy(update={"max_steps": 1})
    trained = play(asked, model, initial, pairs, tmp_path)
    assert trained.dropped == {"prompt longer than 26 tokens": 22}


# Low-rank adapters.


def test_adapters_change_nothing_at_first_and_merge_into_the_same_function(folders: tuple[Path, Path]) -> None:
    plain, ids = checkpoint_files.load_policy(folders[0]), torch.arange(3, 43)[None]
    before = plain(ids).logits
    adapted = add_adapters(plain, Lora(rank=4, alpha=8))
    torch.testing.assert_close(adapted(ids).logits, before)
    trainable = {name for name, weights in adapted.named_parameters() if weights.requires_grad}
    assert trainable and all("lora_" in name for name in trainable)
    with torch.no_grad():
        for name, weights in adapted.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=0.1)
    moved = adapted.eval()(ids).logits
    assert (moved - before).abs().max() > 0.1
    torch.testing.assert_close(merge_adapters(adapted)(ids).logits, moved, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["dpo", "simpo", "sppo"])
def test_a_checkpoint_trained_with_adapters_is_a_plain_model_that_learnt(
    name: str, model: Model, initial: Checkpoint, pairs: Path, tmp_path: Path
) -> None:
    trained = play(short(name, lora=Lora(rank=4, dropout=0.1)), model, initial, pairs, tmp_path)
    before = checkpoint_files.load_policy(initial.path).state_dict()
    after = checkpoint_files.load_policy(trained.checkpoint.path).state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert before.keys() == after.keys()
    assert changed and all("proj" in key for key in changed)
    assert trained.steps[-1].values["rewards/margins"] > trained.steps[0].values["rewards/margins"]


def test_adapters_on_modules_that_do_not_exist_are_an_error(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match=r"training\.lora\.targets \['no_proj'\]"):
        add_adapters(checkpoint_files.load_policy(folders[0]), Lora(targets=("no_proj",)))
