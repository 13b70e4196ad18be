"""Semi-online training with real models: what goes on from chunk to chunk, and what a kill leaves."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from peft import PeftModel
from safetensors.torch import load_file

from eva.config import Model, Training
from eva.errors import CheckpointError, TrainingFailedError
from eva.solver.losses import loss_facts
from eva.solver.weighted_responses import write_weighted_responses
from eva.types import Checkpoint, ChunkPairs, SamplingSettings, TrainingJob, TrainingResult
from tests.support import tiny_models
from tests.support.sampled_responses import sample_responses
from workers.fleet.proof import differences
from workers.training.adapters.adapter_files import read_adapter
from workers.training.canary import measure, read_canary
from workers.training.checkpoint_files import load_policy
from workers.training.checkpoints import is_valid
from workers.training.chunks.chunk_job import Residence
from workers.training.job import publish_model, run_job
from workers.training.losses import LOSSES

pytestmark = pytest.mark.usefixtures("one_thread")

TRAINING = Training(beta=0.1, learning_rate=1e-3, batch=4, epochs=1, adam_beta2=0.95, sync_every=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(path=str(tiny_models.llama(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def initial(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return publish_model(model, TRAINING, tmp_path_factory.mktemp("initial"))


def pair_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "prompt": f"prompt {number}",
            "chosen": "a" * (4 + number % 7),
            "rejected": "cd" * (1 + number % 5),
            "chosen_reward": 0.9,
            "rejected_reward": 0.2,
        }
        for number in range(count)
    ]


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def new_job(initial: Checkpoint, folder: Path, *chunks: list[dict[str, Any]], planned: int = 1) -> TrainingJob:
    """A job of these chunks; `planned` steps in each."""
    files = tuple(
        ChunkPairs(write(folder / "jobs" / f"pairs-{number}.jsonl", rows), planned)
        for number, rows in enumerate(chunks)
    )
    return TrainingJob(
        1,
        0,
        initial,
        initial,
        "",
        str(folder / "run"),
        5,
        initial=initial,
        chunks=files,
        planned_steps=planned * len(files),
    )


def so_far(job: TrainingJob, chunks: int) -> TrainingJob:
    """The job that hands the weights over after so many chunks."""
    if chunks == len(job.chunks):
        return job
    return replace(job, chunks=job.chunks[:chunks], hand_over=f"{job.folder}/inside")


def play(job: TrainingJob, training: Training, model: Model, *stops: int) -> list[TrainingResult]:
    """Runs the jobs up to each of these chunks in one process's trainer."""
    residence = Residence()
    return [run_job(so_far(job, stop), training, model, residence=residence) for stop in stops]


def states_folder(job: TrainingJob) -> Path:
    return Path(job.folder) / "states" / "iteration-0000"


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return load_file(Path(checkpoint.path) / "model.safetensors")


def furthest(one: Checkpoint, other: Checkpoint) -> float:
    left, right = weights(one), weights(other)
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def shuffled(count: int) -> list[int]:
    """The order in which a training of seed 5 takes so many rows."""
    torch.manual_seed(5)
    return [*SeedableRandomSampler(range(count), generator=torch.Generator(), data_seed=5)]


def test_a_batch_of_one_chunk_trains_exactly_as_an_uncut_one(model: Model, initial: Checkpoint, tmp_path: Path) -> None:
    training = TRAINING.model_copy(update={"epochs": 2.0, "sync_every": 8})
    cut = new_job(initial, tmp_path / "cut", pair_rows(16), planned=8)
    (inside,) = play(cut, training, model, 1)
    uncut = TrainingJob(1, 0, initial, initial, cut.chunks[0].pairs_path, str(tmp_path / "uncut"), 5)
    whole = run_job(uncut, training.model_copy(update={"sync_every": None}), model)
    assert furthest(inside.checkpoint, whole.checkpoint) == 0
    assert [step.values["learning_rate"] for step in inside.steps] == [
        step.values["learning_rate"] for step in whole.steps
    ]
    assert furthest(whole.checkpoint, initial) > 1e-3


@pytest.mark.parametrize("loss", ["dpo", "sppo", "orpo", "simpo", "tests.support.loss_functions:margin_dpo"])
def test_optimiser_and_schedule_go_on_so_chunks_of_one_batch_train_like_the_uncut_batch(
    loss: str, model: Model, initial: Checkpoint, tmp_path: Path
) -> None:
    training = TRAINING.model_copy(update={"loss": loss, "win_rates": "given" if loss == "sppo" else None})
    rows = pair_rows(16)
    # An uncut training takes the rows in an order of its own: its batches become the chunks, each stored so that its
    # training draws the batch's rows in the batch's order.
    drawn = [rows[index] for index in shuffled(16)]
    batches = [drawn[start : start + 4] for start in range(0, 16, 4)]
    stored = [shuffled(4).index(place) for place in range(4)]
    job = new_job(initial, tmp_path / "cut", *([batch[place] for place in stored] for batch in batches))
    results = play(job, training, model, 1, 3, 4)
    uncut = TrainingJob(1, 0, initial, initial, write(tmp_path / "all.jsonl", rows), str(tmp_path / "uncut"), 5)
    whole = run_job(uncut, training.model_copy(update={"sync_every": None}), model)
    assert furthest(results[-1].checkpoint, whole.checkpoint) < 1e-6 < 1e-3 < furthest(whole.checkpoint, initial)
    rates = [[step.values["learning_rate"] for step in result.steps] for result in (results[-1], whole)]
    assert rates[0] == pytest.approx(rates[1])
    assert [step.step for step in results[-1].steps] == [1, 2, 3, 4]
    assert [step.values["chunk"] for step in results[-1].steps] == [1, 2, 3, 4]
    assert [result.checkpoint.step for result in results] == [1, 3, 0]
    assert all(is_valid(Path(result.checkpoint.path)) for result in results)


@pytest.mark.parametrize("loss", [name for name in LOSSES if not loss_facts(name).online])
def test_every_loss_goes_on_with_other_rows_and_handing_over_changes_nothing_in_the_training(
    loss: str, model: Model, initial: Checkpoint, tmp_path: Path
) -> None:
    special = {"sppo": {"win_rates": "given"}, "rdpo": {"flip_rate": 0.1}}.get(loss, {})
    training = Training.model_validate(TRAINING.model_dump() | {"loss": loss} | special)
    rows = pair_rows(12)
    parts = (rows[:4], rows[4:8], rows[8:])
    often = play(new_job(initial, tmp_path / "often", *parts), training, model, 1, 2, 3)
    once = play(new_job(initial, tmp_path / "once", *parts), training, model, 3)
    assert often[-1].checkpoint.digest == once[-1].checkpoint.digest
    assert len({result.checkpoint.digest for result in often}) == 3


def test_the_policies_that_an_optimistic_loss_mixes_are_verified_and_decide_its_weights(
    model: Model, initial: Checkpoint, tmp_path: Path
) -> None:
    training = Training.model_validate(TRAINING.model_dump() | {"loss": "onpo", "sync_every": None})
    pairs = write(tmp_path / "pairs.jsonl", pair_rows(8))
    first = TrainingJob(1, 0, initial, initial, pairs, str(tmp_path / "first"), 5)
    policy = run_job(first, training, model).checkpoint
    alone = TrainingJob(2, 1, policy, policy, pairs, str(tmp_path / "alone"), 5)
    mixed = replace(alone, folder=str(tmp_path / "mixed"), earlier=(initial,))
    assert furthest(*(run_job(job, training, model).checkpoint for job in (alone, mixed))) > 1e-4
    with pytest.raises(TrainingFailedError, match="another training job: its earlier differ"):
        run_job(replace(alone, earlier=(initial,)), training, model)
    damaged = replace(initial, path=str(shutil.copytree(initial.path, tmp_path / "damaged")))
    (tmp_path / "damaged" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        run_job(replace(mixed, folder=str(tmp_path / "never"), earlier=(damaged,)), training, model)


def test_every_policy_that_is_handed_over_has_an_adapter_that_makes_it_from_the_iterations_policy(
    model: Model, initial: Checkpoint, tmp_path: Path
) -> None:
    training = Training.model_validate(TRAINING.model_dump() | {"lora": {"rank": 4, "serve": "adapter"}})
    rows = pair_rows(12)
    handed = play(new_job(initial, tmp_path, rows[:4], rows[4:8], rows[8:]), training, model, 1, 2, 3)
    for result in handed:
        adapter = read_adapter(result.checkpoint)
        assert adapter is not None and (adapter.rank, adapter.base.digest) == (4, initial.digest)
        adapted = PeftModel.from_pretrained(load_policy(adapter.base.path), adapter.folder).eval()
        canary = read_canary(Path(result.checkpoint.path))
        assert max(differences(canary.values, [measure(adapted, [*ids]) for ids in canary.tokens])) < 5e-5
    assert furthest(handed[0].checkpoint, handed[1].checkpoint) > 1e-4, "each chunk moves the weights"


@pytest.mark.parametrize("lora", [None, {"rank": 4, "dropout": 0.1}])
def test_a_process_that_starts_again_reaches_the_same_weights_with_and_without_stored_states(
    lora: dict[str, Any] | None, model: Model, initial: Checkpoint, tmp_path: Path
) -> None:
    training = Training.model_validate(TRAINING.model_dump() | {"lora": lora, "checkpoint_dtype": "bfloat16"})
    rows = pair_rows(16)
    parts = [rows[start : start + 4] for start in range(0, 16, 4)]
    undisturbed = play(new_job(initial, tmp_path / "undisturbed", *parts), training, model, 1, 2, 3, 4)
    for state_every, kept in ((None, []), (1, ["chunk-0003"]), (2, ["chunk-0002"])):
        storing = training.model_copy(update={"state_every": state_every})
        job = new_job(initial, tmp_path / f"killed-{state_every}", *parts)
        before = play(job, storing, model, 1, 2, 3)
        assert sorted(folder.name[:10] for folder in states_folder(job).glob("chunk-*")) == kept
        (after,) = play(job, storing, model, 4)
        assert before[1].checkpoint.digest == undisturbed[1].checkpoint.digest
        assert after.checkpoint.digest == undisturbed[-1].checkpoint.digest
        assert after.steps == undisturbed[-1].steps
        assert not states_folder(job).exists()


def test_an_online_loss_that_goes_on_from_a_state_scores_what_was_sampled_with_the_weights_of_that_state(
    model: Model, initial: Checkpoint, tmp_path: Path
) -> None:
    online = {"loss": "rloo", "batch": 8, "epochs": 2, "sync_every": 2, "state_every": 1}
    training = Training.model_validate(TRAINING.model_dump() | online)
    sampled = sample_responses(Path(initial.path), lambda tokens: float(sum(tokens) % 7), prompts=4)
    files = [tmp_path / "first.parquet", tmp_path / "second.parquet"]
    for file, half in zip(files, (sampled[: len(sampled) // 2], sampled[len(sampled) // 2 :]), strict=True):
        write_weighted_responses(file, half)

    def job(folder: Path) -> TrainingJob:
        made = replace(new_job(initial, folder), sampling=SamplingSettings(1.0, 1.0, 6), planned_steps=4)
        return replace(made, chunks=tuple(ChunkPairs(str(file), 2) for file in files))

    (*_, undisturbed) = play(job(tmp_path / "undisturbed"), training, model, 1, 2)
    killed = job(tmp_path / "killed")
    play(killed, training, model, 1)
    (after,) = play(killed, training, model, 2)
    assert [step.values["ratio"] for step in undisturbed.steps][::2] == pytest.approx([1.0, 1.0]), (
        "each chunk begins on policy"
    )
    assert after.steps == undisturbed.steps
    assert after.checkpoint.digest == undisturbed.checkpoint.digest


def test_a_chunk_covers_its_share_of_the_schedule_however_many_steps_it_takes(
    model: Model, initial: Checkpoint, tmp_path: Path
) -> None:
    training = TRAINING.model_copy(update={"schedule": "linear", "warmup_ratio": 0.0, "sync_every": 4})
    rows = pair_rows(24)
    job = new_job(initial, tmp_path, rows[:8], [], rows[8:24], planned=4)
    result = play(job, training, model, 3)[-1]
    rates = [step.values["learning_rate"] / training.learning_rate for step in result.steps]
    # 2 steps of the first third, none of the second, 4 of the last
    assert rates == pytest.approx([1, 5 / 6, 1 / 3, 1 / 4, 1 / 6, 1 / 12])


@pytest.mark.parametrize(
    ("limit", "steps_by_chunk", "rates"),
    [
        (6, {1: 2, 3: 4}, [1, 5 / 6, 1 / 3, 1 / 4, 1 / 6, 1 / 12]),  # the last chunk takes what the second left
        (3, {1: 1, 3: 2}, [1, 1 / 3, 1 / 6]),
    ],
)
def test_a_limit_on_steps_is_shared_among_the_chunks_and_holds_after_a_kill(
    limit: int,
    steps_by_chunk: dict[int, int],
    rates: list[float],
    model: Model,
    initial: Checkpoint,
    tmp_path: Path,
) -> None:
    training = TRAINING.model_copy(
        update={"schedule": "linear", "warmup_ratio": 0.0, "sync_every": 4, "step_limit": limit}
    )
    rows = pair_rows(24)
    job = new_job(initial, tmp_path / "run", rows[:8], [], rows[8:24], planned=4)
    result = play(job, training, model, 1, 3)[-1]
    assert Counter(step.values["chunk"] for step in result.steps) == steps_by_chunk
    assert [step.values["learning_rate"] / training.learning_rate for step in result.steps] == pytest.approx(rates)
    again = new_job(initial, tmp_path / "again", rows[:8], [], rows[8:24], planned=4)
    for stop in (1, 3):  # each time in a new process
        (repeated,) = play(again, training, model, stop)
    assert repeated.checkpoint.digest == result.checkpoint.digest


@pytest.mark.parametrize("state_every", [None, 1])
def test_rows_that_fill_no_batch_go_on_to_the_next_chunk(
    state_every: int | None, model: Model, initial: Checkpoint, tmp_path: Path
) -> None:
    training = TRAINING.model_copy(update={"epochs": 2.0, "sync_every": 2, "state_every": state_every})
    rows = pair_rows(17)
    # 3 of 4 rows fill no batch; then 2 batches, and 2 rows go on; then 1 batch and what is left
    parts = (rows[:3], rows[3:10], rows[10:17])
    job = new_job(initial, tmp_path / "run", *parts, planned=4)
    often = play(job, training, model, 1, 2, 3)
    assert [result.checkpoint.step for result in often] == [0, 4, 0]
    assert [step.values["chunk"] for step in often[-1].steps] == [2] * 4 + [3] * 6
    again = new_job(initial, tmp_path / "again", *parts, planned=4)
    for stop in (1, 2, 3):  # each time in a new process
        (result,) = play(again, training, model, stop)
    assert result.checkpoint.digest == often[-1].checkpoint.digest


def test_only_the_newest_policies_of_an_iteration_are_kept_unless_all_are_asked_for(
    model: Model, initial: Checkpoint, tmp_path: Path
) -> None:
    rows = pair_rows(16)
    parts = [rows[start : start + 4] for start in range(0, 16, 4)]
    for keep, expected in ((False, [2, 3]), (True, [1, 2, 3])):
        job = new_job(initial, tmp_path / str(keep), *parts)
        play(job, TRAINING.model_copy(update={"keep_synced": keep}), model, 1, 2, 3)
        assert sorted(int(folder.name[5:]) for folder in Path(f"{job.folder}/inside").glob("step-*")) == expected


def test_chunks_whose_pairs_are_all_dropped_end_the_training_with_the_reason(
    model: Model, initial: Checkpoint, tmp_path: Path
) -> None:
    training = TRAINING.model_copy(update={"max_length": 3})
    job = new_job(initial, tmp_path, pair_rows(4), pair_rows(4))
    with pytest.raises(TrainingFailedError, match="longer than 3 tokens"):
        play(job, training, model, 2)
