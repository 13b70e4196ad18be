"""Losses over ranked and over single responses equal their formulas in float64, and TRL's where it has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from eva.config import Training
from tests.support import tiny_models
from workers.training import checkpoint_files
from workers.training.arguments import trainer_arguments
from workers.training.losses import Ingredients, Reference, find_loss
from workers.training.losses.kto import single_responses

pytestmark = pytest.mark.usefixtures("one_thread")

BETA, SHARE = 0.3, 0.4
MINE = "tests.support.loss_functions:best_likelihood"
RANKED = (
    {"prompt_ids": [1, 10], "responses_ids": [[30, 41, 2], [70, 80, 81, 2], [60, 2]], "rewards": [0.9, 0.4, 0.1]},
    {"prompt_ids": [1, 11, 12], "responses_ids": [[31, 50, 51, 2], [71, 2]], "rewards": [2.0, -1.0]},
    {
        "prompt_ids": [1, 13],
        "responses_ids": [[32, 2], [72, 82, 2], [61, 62, 2], [63, 2]],
        "rewards": [3.0, 1.0, 1.0, 0.5],
    },
)
PAIRS = tuple(
    {"prompt_ids": [1, 10 + row], "chosen_ids": [30 + row, 41, 2], "rejected_ids": [70 + row, 80, 81 + row, 2]}
    for row in range(4)
)

Logps = list[list[torch.Tensor]]
"""The log-probabilities of each token of a response, nats, for each prompt and response."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Policy, reference and initial model: three models that differ."""
    folder = tmp_path_factory.mktemp("models")
    return (
        tiny_models.llama(folder / "policy"),
        tiny_models.llama(folder / "reference", seed=1),
        tiny_models.llama(folder / "initial", seed=2),
    )


def token_logps(model: Any, prompt: list[int], response: list[int]) -> torch.Tensor:
    ids = torch.tensor([prompt + response])
    with torch.no_grad():
        logps = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return logps[len(prompt) - 1 :]


def measure(folder: Path) -> Logps:
    """One sequence at a time, nothing padded, nothing of TRL."""
    model = checkpoint_files.load_policy(folder).double()
    return [[token_logps(model, row["prompt_ids"], one) for one in row["responses_ids"]] for row in RANKED]


def plackett_luce(p: Logps, r: Logps, _: Logps) -> list[float]:
    losses: list[float] = []
    for own, other in zip(p, r, strict=True):
        scores = torch.stack([BETA * (a.sum() - b.sum()) for a, b in zip(own, other, strict=True)]).exp()
        losses.append(-sum(float((scores[k] / scores[k:].sum()).log()) for k in range(len(scores))))
    return losses


def pro(p: Logps, _r: Logps, _i: Logps) -> list[float]:
    losses: list[float] = []
    for own, row in zip(p, RANKED, strict=True):
        means, rewards, total = [one.mean() for one in own], row["rewards"], 0.0
        for k in range(len(own) - 1):
            gaps = [rewards[k] - rewards[j] for j in range(k + 1, len(own))]
            best = (max(gaps) * means[k]).exp()
            rest = sum((gap * means[k + 1 + place]).exp() for place, gap in enumerate(gaps))
            total -= float((best / (best + rest)).log())
        losses.append(total - BETA * float(means[0]))
    return losses


def inpo(p: Logps, r: Logps, i: Logps) -> list[float]:
    losses: list[float] = []
    for own, previous, initial in zip(p, r, i, strict=True):
        sums = [[one.sum() for one in each] for each in (own, previous, initial)]

        def log_ratio(k: int, w: list[torch.Tensor]) -> torch.Tensor:
            return w[0] - w[k]

        squares: list[float] = []
        for k in range(1, len(own)):
            h = log_ratio(k, sums[0]) - SHARE * log_ratio(k, sums[2]) - (1 - SHARE) * log_ratio(k, sums[1])
            squares.append(float((h - 1 / (2 * BETA)) ** 2))
        losses.append(sum(squares) / len(squares))
    return losses


def onpo(p: Logps, r: Logps, i: Logps) -> list[float]:
    """The newest of three policies weighs one half; the two before it, here the same one, weigh one quarter each."""
    losses: list[float] = []
    for own, newest, earlier in zip(p, r, i, strict=True):
        h = [float(a.sum() - b.sum() / 2 - 2 * c.sum() / 4) for a, b, c in zip(own, newest, earlier, strict=True)]
        losses.append(sum((h[0] - other - 1 / BETA) ** 2 for other in h[1:]) / (len(h) - 1))
    return losses


def my_own(p: Logps, _r: Logps, i: Logps) -> list[float]:
    return [float(i[row][0].sum() - p[row][0].sum()) for row in range(len(RANKED))]


FORMULAS: dict[str, Callable[[Logps, Logps, Logps], list[float]]] = {
    "plackett_luce": plackett_luce,
    "pro": pro,
    "inpo": inpo,
    "onpo": onpo,
    MINE: my_own,
}


def trainer_of(asked: Training, rows: tuple[Any, ...], folders: tuple[Path, Path, Path], output: Path) -> Any:
    policy, reference, initial = folders
    arguments = trainer_arguments(asked, seed=3, n_devices=1, gpu=False, output_dir=str(output))
    other = Reference(lambda: checkpoint_files.load_policy(initial))
    mixes = asked.facts.optimistic
    return find_loss(asked.loss, ranked=asked.ranked)(
        Ingredients(
            checkpoint_files.load_policy(policy),
            None if asked.loss == "pro" else Reference(lambda: checkpoint_files.load_policy(reference)),
            tiny_models.tokenizer(),
            rows,
            asked,
            arguments,
            (),
            None if asked.loss == "pro" or mixes else other,
            (other, other) if mixes else (),
        )
    )


def loss_of(trainer: Any, size: int) -> float:
    batch = trainer._prepare_inputs(trainer.data_collator([trainer.train_dataset[row] for row in range(size)]))
    trainer.model.train()
    return float(trainer.compute_loss(trainer.model, batch).detach())


def training(loss: str, **more: Any) -> Training:
    own = {"takes": "ranked"} if loss == MINE else {"initial_share": SHARE} if loss == "inpo" else {}
    return Training(loss=loss, beta=BETA, batch=4, **own, **more)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_loss_over_ranked_responses_equals_its_formula(
    name: str, folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    expected = FORMULAS[name](*map(measure, folders))
    found = loss_of(trainer_of(training(name), RANKED, folders, tmp_path), len(RANKED))
    assert found == pytest.approx(sum(expected) / len(expected), rel=1e-4)


def test_plackett_luce_of_two_responses_is_dpo(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    ranked = tuple(
        {
            "prompt_ids": row["prompt_ids"],
            "responses_ids": [row["chosen_ids"], row["rejected_ids"]],
            "rewards": [1.0, 0.0],
        }
        for row in PAIRS
    )
    list_wise = loss_of(trainer_of(training("plackett_luce"), ranked, folders, tmp_path), len(PAIRS))
    pair_wise = loss_of(trainer_of(training("dpo"), PAIRS, folders, tmp_path), len(PAIRS))
    assert list_wise == pytest.approx(pair_wise, rel=1e-5)


def test_kto_equals_its_formula_with_responses_exchanged_inside_the_batch(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    policy, reference = (checkpoint_files.load_policy(folder).double() for folder in folders[:2])
    rows = single_responses(PAIRS, 8, 3)

    def log_ratio(row: Any, ids: str) -> float:
        own, other = (token_logps(model, row["prompt_ids"], row[ids]).sum() for model in (policy, reference))
        return float(own - other)

    moved = max(0.0, sum(log_ratio(row, "KL_completion_ids") for row in rows) / len(rows))
    signs = torch.tensor([1.0 if row["label"] else -1.0 for row in rows])
    ratios = torch.tensor([log_ratio(row, "completion_ids") for row in rows])
    expected = float((1 - torch.sigmoid(BETA * signs * (ratios - moved))).mean())
    found = loss_of(trainer_of(training("kto"), PAIRS, folders, tmp_path), len(rows))
    assert found == pytest.approx(expected, rel=1e-4)


def test_every_response_of_the_pairs_is_a_row_of_kto_and_none_is_exchanged_with_itself() -> None:
    rows = single_responses(PAIRS, 4, 3)
    wanted = {(tuple(pair[f"{side}_ids"]), side == "chosen") for pair in PAIRS for side in ("chosen", "rejected")}
    assert {(tuple(row["completion_ids"]), row["label"]) for row in rows} == wanted
    assert len(rows) == len(wanted)
    assert all(row["completion_ids"] != row["KL_completion_ids"] for row in rows)
    for start in range(0, len(rows), 4):
        batch = rows[start : start + 4]
        own, exchanged = ({tuple(row[ids]) for row in batch} for ids in ("completion_ids", "KL_completion_ids"))
        assert own == exchanged
    assert rows != single_responses(PAIRS, 4, 4)


def test_pairs_in_order_are_taken_from_first_to_last(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    trainer = trainer_of(training("dpo", order="widest_first", per_device_batch=1), PAIRS, folders, tmp_path)
    seen = [batch["input_ids"][0, 2].item() for batch in trainer.get_train_dataloader()]
    assert seen == [row["chosen_ids"][0] for row in PAIRS]
