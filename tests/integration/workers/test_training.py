"""Real DPO by TRL on models of 100k parameters: what it learns, what it stores, and what a kill leaves."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch.nn.attention import flex_attention
from transformers import AutoModelForCausalLM, AutoTokenizer

from eva.config import Model, Training
from eva.errors import CheckpointError, TrainingFailedError
from eva.settings import Settings
from eva.types import Checkpoint, TrainingJob, TrainingResult, TrainingStep
from tests.support import tiny_models
from tests.support.ray_fixtures import tiny_config
from workers.models.chat_template import PromptEncoder, read_prompting
from workers.training import checkpoint_files
from workers.training.canary import difference, read_canary
from workers.training.checkpoints import is_valid, verify
from workers.training.job import publish_model, run_job
from workers.training.losses.dpo import TokenDPOTrainer
from workers.training.losses.reference_scores import reference_batches
from workers.training.optimisation import optimise
from workers.training.trainer import LocalTrainer

pytestmark = pytest.mark.usefixtures("one_thread")

TRAINING = Training(beta=0.1, learning_rate=1e-3, batch=8, epochs=2, adam_beta2=0.95)
NAMES = {"llama": tiny_models.llama, "qwen2": tiny_models.qwen2, "gemma2": tiny_models.gemma2}


def write_pairs(file: Path, count: int = 32) -> Path:
    draw = random.Random(0)
    rows = [
        {
            "number": number,
            "prompt": f"prompt {number}",
            "chosen": "a" * draw.randint(4, 12),
            "rejected": "cd" * draw.randint(1, 9),
            "chosen_reward": 1.0,
            "rejected_reward": 0.0,
        }
        for number in range(count)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(path=str(tiny_models.llama(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def initial(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return publish_model(model, TRAINING, tmp_path_factory.mktemp("initial"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.jsonl")


Ask = Callable[..., TrainingJob]


@pytest.fixture
def ask(initial: Checkpoint, pairs: Path, tmp_path: Path) -> Ask:
    """A job that trains the initial policy; keywords replace its fields."""
    job = TrainingJob(1, 0, initial, initial, str(pairs), str(tmp_path / "run"), seed=2**62 + 1)
    return lambda **fields: replace(job, **fields)


@pytest.fixture(scope="module")
def trained(model: Model, initial: Checkpoint, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    folder = str(tmp_path_factory.mktemp("trained"))
    return run_job(TrainingJob(1, 0, initial, initial, str(pairs), folder, seed=2**62 + 1), TRAINING, model)


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    with safe_open(Path(checkpoint.path) / "model.safetensors", "pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)


def test_the_first_loss_is_ln_2_and_training_lowers_it_and_opens_a_margin(trained: TrainingResult) -> None:
    first, last = trained.steps[0].values, trained.steps[-1].values
    assert len(trained.steps) == 8
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-5)
    assert last["loss"] < 0.5 < math.log(2)
    assert last["rewards/margins"] > 0.5
    assert last["rewards/accuracies"] == 1
    assert {"logps_sum/chosen", "logps_per_token/rejected", "learning_rate", "grad_norm", "kl_k3"} <= set(last)
    assert not {"logps/chosen", "logps/rejected", "kl"} & set(last)


def test_rewards_are_log_ratios_of_policy_and_reference(trained: TrainingResult) -> None:
    first, last = trained.steps[0].values, trained.steps[-1].values
    for side in ("chosen", "rejected"):
        assert first[f"rewards/{side}"] == pytest.approx(0, abs=1e-4)
    assert last["rewards/margins"] == pytest.approx(last["rewards/chosen"] - last["rewards/rejected"], abs=1e-5)


def test_the_kl_is_never_negative_and_left_out_where_the_reference_did_not_sample_the_responses(
    model: Model, trained: TrainingResult, ask: Ask, tmp_path: Path
) -> None:
    figures = [step.values["kl_k3"] for step in trained.steps]
    assert figures[0] == pytest.approx(0, abs=1e-6) and min(figures) >= 0 and figures[-1] > 0.01
    one = TRAINING.model_copy(update={"max_steps": 1})
    later = {"iteration": 1, "number": 2}
    of_scratch = one.model_copy(update={"mode": "scratch"})
    of_initial = ask(policy=trained.checkpoint, folder=str(tmp_path / "initial"), **later)
    assert "kl_k3" not in run_job(of_initial, one, model).steps[0].values
    assert "kl_k3" not in run_job(ask(folder=str(tmp_path / "scratch"), **later), of_scratch, model).steps[0].values
    assert "kl_k3" in run_job(ask(folder=str(tmp_path / "first")), of_scratch, model).steps[0].values


def test_the_same_seed_gives_the_same_checkpoint_bit_for_bit_and_another_seed_does_not(
    model: Model, trained: TrainingResult, ask: Ask, tmp_path: Path
) -> None:
    assert run_job(ask(), TRAINING, model).checkpoint.digest == trained.checkpoint.digest
    other = run_job(ask(seed=8, folder=str(tmp_path / "other")), TRAINING, model).checkpoint
    name = "model.norm.weight"
    assert not torch.equal(weights(other)[name], weights(trained.checkpoint)[name])


def test_accumulated_batches_train_like_whole_ones(model: Model, trained: TrainingResult, ask: Ask) -> None:
    parts = run_job(ask(), TRAINING.model_copy(update={"per_device_batch": 2}), model)
    assert [step.values["loss"] for step in parts.steps] == pytest.approx(
        [step.values["loss"] for step in trained.steps], abs=1e-3
    )
    for name, whole in weights(trained.checkpoint).items():
        torch.testing.assert_close(weights(parts.checkpoint)[name], whole, atol=2e-4, rtol=1e-2)


def test_a_job_says_what_it_does_before_its_first_step_and_after_its_last(model: Model, ask: Ask) -> None:
    heard: list[str] = []
    one = TRAINING.model_copy(update={"max_steps": 1, "per_device_batch": 4})
    run_job(ask(), one, model, report=lambda step, _: heard.append(f"step {step.step}"), note=heard.append)
    before, after = heard[: heard.index("step 1")], heard[heard.index("step 1") :]
    batches = [text for text in before if text.startswith("scores the reference")]
    assert batches == [f"scores the reference: batch {number} of 8" for number in range(1, 9)]
    assert {"loads the policy", "takes step 1"} <= set(before)
    assert {"writes the checkpoint", "measures the checkpoint's canary"} <= set(after)


def test_a_job_that_was_promised_a_gpu_does_not_train_on_the_cpu(model: Model, ask: Ask) -> None:
    with pytest.raises(TrainingFailedError, match=r"promised a GPU.*but its process sees none"):
        optimise(ask(), TRAINING, model, gpu=True)


def test_exactly_the_asked_steps_are_taken(model: Model, ask: Ask) -> None:
    reported: list[tuple[int, int]] = []
    exact = TRAINING.model_copy(update={"max_steps": 3})
    trained = run_job(ask(), exact, model, report=lambda step, total: reported.append((step.step, total)))
    assert [step.step for step in trained.steps] == [1, 2, 3]
    assert reported == [(1, 3), (2, 3), (3, 3)]
    rates = [step.values["learning_rate"] for step in trained.steps]
    assert rates == pytest.approx([1e-3, 0.75e-3, 0.25e-3])  # one step of warm-up, then thirds of a cosine
    wasteful = exact.model_copy(update={"warmup_from": "zero"})
    as_before = run_job(ask(folder=f"{ask().folder}-2"), wasteful, model)
    rates = [step.values["learning_rate"] for step in as_before.steps]
    assert rates == pytest.approx([0.0, 1e-3, 5e-4])  # transformers' own


def test_batches_of_the_reference_keep_to_their_tokens_and_take_every_row_once() -> None:
    lengths = [random.Random(1).randint(5, 90) for _ in range(60)] + [400]
    batches = reference_batches(lengths, pairs=4, tokens=512)
    assert sorted(index for batch in batches for index in batch) == list(range(61))
    assert batches[0] == [60], "a pair that is too long by itself is scored alone, first"
    assert all(2 * len(batch) * max(lengths[index] for index in batch) <= 512 for batch in batches[1:])
    assert [len(batch) for batch in reference_batches(lengths, pairs=4, tokens=None)] == [4] * 15 + [1]


def test_the_reference_is_the_one_that_is_given_and_not_the_policys_path(
    model: Model, trained: TrainingResult, ask: Ask
) -> None:
    one_step = TRAINING.model_copy(update={"max_steps": 1})
    older = run_job(ask(number=2, policy=trained.checkpoint), one_step, model)
    assert older.steps[0].values["loss"] < 0.5
    same = run_job(ask(number=3, policy=trained.checkpoint, reference=trained.checkpoint), one_step, model)
    assert same.steps[0].values["loss"] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tied", [True, False])
def test_a_published_checkpoint_loads_in_transformers_equals_its_canary_and_keeps_its_ties(
    name: str, tied: bool, pairs: Path, tmp_path: Path
) -> None:
    model = Model(path=str(NAMES[name](tmp_path / "model", tied=tied)))
    first = publish_model(model, TRAINING, tmp_path / "run")
    second = run_job(
        TrainingJob(1, 0, first, first, str(pairs), str(tmp_path / "run"), 5),
        TRAINING.model_copy(update={"max_steps": 2}),
        model,
    ).checkpoint
    for checkpoint in (first, second):
        verify(Path(checkpoint.path), checkpoint.digest)
        assert ("lm_head.weight" not in weights(checkpoint)) == tied
        eager = AutoModelForCausalLM.from_pretrained(checkpoint.path, attn_implementation="eager")
        assert eager.config.tie_word_embeddings == tied
        assert eager.dtype == torch.float32
        canary = read_canary(Path(checkpoint.path))
        for sequence in canary.sequences:
            logits = eager(torch.tensor([sequence.token_ids])).logits[0].detach().log_softmax(-1)
            fresh = [logits[place, token].item() for place, token in enumerate(sequence.token_ids[1:])]
            assert fresh == pytest.approx(sequence.logprobs, abs=1e-4)
        assert AutoTokenizer.from_pretrained(checkpoint.path).chat_template == tiny_models.CHAT_TEMPLATE
    moved = difference(read_canary(Path(first.path)), read_canary(Path(second.path)))
    assert moved > read_canary(Path(first.path)).tolerance


def test_consecutive_checkpoints_can_be_told_apart_by_their_canaries(
    initial: Checkpoint, trained: TrainingResult
) -> None:
    before, after = read_canary(Path(initial.path)), read_canary(Path(trained.checkpoint.path))
    assert difference(before, after) > 10 * after.tolerance


def test_soft_capped_attention_is_not_left_out(tmp_path: Path) -> None:
    folder = tiny_models.gemma2(tmp_path)
    assert checkpoint_files.load_policy(folder).config._attn_implementation == "eager"
    assert checkpoint_files.load_policy(tiny_models.llama(tmp_path / "llama")).config._attn_implementation == "sdpa"


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # calls of transformers, and of torch's compiler at its import
def test_flex_attention_honours_soft_caps_and_the_fused_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Uncompiled: compiling takes minutes on a CPU.
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    folder = tiny_models.gemma2(tmp_path)
    models = {name: checkpoint_files.load_policy(folder, attention=name) for name in ("eager", "flex")}
    models["sdpa"] = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")
    logits: dict[str, torch.Tensor] = {}
    for name, model in models.items():
        for layer in model.model.layers:
            layer.self_attn.attn_logit_softcapping = 0.05  # so low that it bends the scores of so small a model
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            logits[name] = model(torch.arange(3, 43)[None]).logits
    torch.testing.assert_close(logits["flex"], logits["eager"], atol=1e-4, rtol=1e-4)
    assert (logits["sdpa"] - logits["eager"]).abs().max() > 1


@pytest.mark.parametrize("template", ["chat", "none"])
def test_the_tokens_that_are_trained_on_are_the_engines_prompt_the_response_and_eos(
    model: Model, ask: Ask, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def spy(self: TokenDPOTrainer, policy: Any, inputs: dict[str, torch.Tensor], **more: Any) -> Any:
        seen.append(inputs)
        return original(self, policy, inputs, **more)

    original = TokenDPOTrainer.compute_loss
    monkeypatch.setattr(TokenDPOTrainer, "compute_loss", spy)
    asked = model.model_copy(update={"template": template})
    run_job(ask(), TRAINING.model_copy(update={"epochs": 1}), asked)
    encoder = PromptEncoder(model.path, read_prompting(asked))
    words, lines = encoder.tokenizer, Path(ask().pairs_path).read_text().splitlines()
    answers = [(row["prompt"], row[side]) for row in map(json.loads, lines) for side in ("chosen", "rejected")]
    expected = {
        (*encoder.encode(prompt), *words.encode(answer, add_special_tokens=False), words.eos_token_id)
        for prompt, answer in answers
    }
    trained_on = {
        tuple(ids[mask.bool()].tolist())
        for batch in seen
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    }
    assert trained_on == expected
    assert all(row.count(words.bos_token_id) == 1 for row in trained_on)
    completions = {
        words.decode(ids[mask.bool()])
        for batch in seen
        for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    }
    assert all(text.strip("acd") == tiny_models.EOS for text in completions)


def test_a_chat_template_of_the_users_travels_with_every_checkpoint(model: Model, pairs: Path, tmp_path: Path) -> None:
    jinja = tmp_path / "mine.jinja"
    jinja.write_text("{{ bos_token }}MINE {{ messages[-1]['content'] }}")
    asked = model.model_copy(update={"chat_template": str(jinja)})
    first = publish_model(asked, TRAINING, tmp_path / "run")
    second = run_job(
        TrainingJob(1, 0, first, first, str(pairs), str(tmp_path / "run"), 5),
        TRAINING.model_copy(update={"max_steps": 1}),
        asked,
    ).checkpoint
    for checkpoint in (first, second):
        assert AutoTokenizer.from_pretrained(checkpoint.path).chat_template == jinja.read_text()


def test_half_precision_weights_are_published_as_they_are_and_trained_ones_keep_float32(
    model: Model, pairs: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float16).save_pretrained(half)
    AutoTokenizer.from_pretrained(model.path).save_pretrained(half)
    asked = Model(path=str(half))
    first = publish_model(asked, TRAINING, tmp_path / "run")
    assert (Path(first.path) / "model.safetensors").read_bytes() == (half / "model.safetensors").read_bytes()
    assert read_canary(Path(first.path)).dtype == "float16"
    job = TrainingJob(1, 0, first, first, str(pairs), str(tmp_path / "run"), 5)
    tiny = TRAINING.model_copy(update={"learning_rate": 5e-7, "max_steps": 4})
    trained = weights(run_job(job, tiny, asked).checkpoint)
    moved = [(trained[name] - before.float()).abs().max().item() for name, before in weights(first).items()]
    assert 0 < max(moved) < 4e-6
    stored = run_job(replace(job, number=2), tiny.model_copy(update={"checkpoint_dtype": "bfloat16"}), asked)
    assert {tensor.dtype for tensor in weights(stored.checkpoint).values()} == {torch.bfloat16}
    config = json.loads((Path(stored.checkpoint.path) / "config.json").read_text())
    assert config["dtype"] == read_canary(Path(stored.checkpoint.path)).dtype == "bfloat16"


def test_without_training_the_policy_is_published_unchanged(model: Model, initial: Checkpoint, ask: Ask) -> None:
    control = run_job(ask(pairs_path="/absent"), TRAINING.model_copy(update={"enabled": False}), model)
    assert control.checkpoint.number == 1
    assert control.steps == ()
    before, after = weights(initial), weights(control.checkpoint)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert difference(read_canary(Path(initial.path)), read_canary(Path(control.checkpoint.path))) == 0


def test_dropped_rows_are_counted_and_a_job_without_rows_fails(model: Model, ask: Ask) -> None:
    shorter = TRAINING.model_copy(update={"max_length": 40, "max_steps": 1})
    found = run_job(ask(), shorter, model)
    assert 0 < found.dropped["longer than 40 tokens"] < 32
    with pytest.raises(TrainingFailedError, match=r"No pair is left.*longer than 5 tokens': 32"):
        run_job(ask(number=2), TRAINING.model_copy(update={"max_length": 5}), model)


def test_a_divergence_publishes_nothing(model: Model, ask: Ask) -> None:
    with pytest.raises(TrainingFailedError, match=r"diverged at step \d+.*Lower training\.learning_rate"):
        run_job(ask(), TRAINING.model_copy(update={"learning_rate": 1e18, "max_grad_norm": 1e18}), model)
    assert not is_valid(Path(ask().folder) / "checkpoint-0001")


def test_a_damaged_policy_is_not_trained(model: Model, ask: Ask, tmp_path: Path) -> None:
    policy = publish_model(model, TRAINING, tmp_path / "damaged")
    (Path(policy.path) / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"config\.json has 2 bytes"):
        run_job(ask(policy=policy), TRAINING, model)


def test_a_published_job_is_returned_without_training(model: Model, ask: Ask) -> None:
    steps: list[int] = []
    short = TRAINING.model_copy(update={"max_steps": 2})
    first = run_job(ask(), short, model, report=lambda step, _: steps.append(step.step))
    assert run_job(ask(), short, model, report=lambda step, _: steps.append(step.step)) == first
    assert steps == [1, 2]


def test_the_checkpoint_of_another_job_is_not_taken_for_this_one(model: Model, ask: Ask) -> None:
    short = TRAINING.model_copy(update={"max_steps": 1})
    run_job(ask(), short, model)
    with pytest.raises(TrainingFailedError, match="made by another training job: its seed differ"):
        run_job(ask(seed=9), short, model)


KILLED = """
import os, sys
from dataclasses import replace
from pathlib import Path
from eva.config import Model, Training
from eva.types import Checkpoint, TrainingJob
from workers.training import checkpoints, job

checkpoints._replace = lambda temporary, target: os._exit(9)
policy = Checkpoint(0, 0, sys.argv[1], sys.argv[2])
job.run_job(TrainingJob(1, 0, policy, policy, sys.argv[3], sys.argv[4], 1), Training(batch=8, max_steps=1),
            Model(path=sys.argv[1]))
"""


def test_a_job_killed_just_before_its_checkpoint_appears_leaves_none_and_is_trained_again(
    model: Model, initial: Checkpoint, ask: Ask
) -> None:
    given = [initial.path, initial.digest, ask().pairs_path, ask().folder]
    assert subprocess.run([sys.executable, "-c", KILLED, *given], check=False).returncode == 9
    assert not is_valid(Path(ask().folder) / "checkpoint-0001")
    trained = run_job(ask(seed=1), Training(batch=8, max_steps=1), model)
    verify(Path(trained.checkpoint.path), trained.checkpoint.digest)
    assert [path.name for path in Path(ask().folder).glob("*")].count("checkpoint-0001") == 1
    assert not list(Path(ask().folder).glob(".publishing-*"))


@pytest.fixture(scope="module")
def trainer(ray_cluster: Settings, model: Model) -> Iterator[LocalTrainer]:
    config = tiny_config(model.path).model_copy(update={"training": TRAINING})
    with LocalTrainer(config, ray_cluster.logs_dir / "training") as started:
        started.warm()
        yield started


def test_the_trainer_publishes_trains_and_tells_its_steps(
    trainer: LocalTrainer, initial: Checkpoint, trained: TrainingResult, ask: Ask, tmp_path: Path
) -> None:
    assert trainer.publish_initial(str(tmp_path / "run")).digest == initial.digest
    told: list[TrainingStep] = []
    found = trainer.train(ask(), lambda step, _: told.append(step))
    assert tuple(told) == found.steps
    assert found.checkpoint.digest == verify(Path(found.checkpoint.path)).digest
    assert [step.values["loss"] for step in told] == pytest.approx(
        [step.values["loss"] for step in trained.steps], abs=1e-4
    )


def process_id(trainer: LocalTrainer) -> int:
    """The process that trains, asked beside a job that may be running in it."""
    import ray

    asked = trainer._process().__ray_call__.options(concurrency_group="watch")
    return ray.get(asked.remote(lambda _: os.getpid()))


def test_a_trainer_killed_in_the_middle_of_a_job_is_replaced_and_the_job_done_again(
    trainer: LocalTrainer, ask: Ask
) -> None:
    killed: list[int] = []

    def kill_once(_step: TrainingStep, _total: int) -> None:
        if not killed:
            killed.append(process_id(trainer))
            os.kill(killed[0], signal.SIGKILL)

    longer = ask(pairs_path=str(write_pairs(Path(ask().folder).parent / "many.jsonl", 240)))
    found = trainer.train(longer, kill_once)
    assert killed
    assert len(found.steps) == 60
    verify(Path(found.checkpoint.path), found.checkpoint.digest)
    assert not list(Path(longer.folder).glob(".publishing-*"))
    undisturbed = trainer.train(replace(longer, folder=f"{longer.folder}-undisturbed"), ignore)
    assert undisturbed.checkpoint.digest == found.checkpoint.digest, "bit for bit as if nothing had happened"


def test_an_error_of_the_job_is_raised_unchanged_and_the_process_lives(trainer: LocalTrainer, ask: Ask) -> None:
    before = process_id(trainer)
    with pytest.raises(TrainingFailedError, match="The pairs cannot be read"):
        trainer.train(ask(pairs_path="/absent"), ignore)
    assert process_id(trainer) == before


def ignore(_step: TrainingStep, _total: int) -> None:
    """A caller that does not listen."""


class LeftError(Exception):
    """The caller leaves."""


def test_an_exception_in_the_report_ends_the_job_and_its_process(trainer: LocalTrainer, ask: Ask) -> None:
    def leave(_step: TrainingStep, _total: int) -> None:
        raise LeftError

    with pytest.raises(LeftError):
        trainer.train(ask(), leave)
    assert trainer._actor is None


def test_a_trainer_without_progress_is_given_up_after_its_retries(
    ray_cluster: Settings, model: Model, ask: Ask
) -> None:
    impatient = TRAINING.model_copy(update={"timeout_s": 0.01})
    config = tiny_config(model.path).model_copy(update={"training": impatient})
    with (
        LocalTrainer(config, ray_cluster.logs_dir / "silent") as silent,
        pytest.raises(TrainingFailedError, match=r"ended 3 times without a checkpoint(?s:.*)trainer\.log"),
    ):
        silent.train(ask(), ignore)
