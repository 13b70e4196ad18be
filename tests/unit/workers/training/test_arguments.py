"""The batch is global, and our config reaches the trainer under the library's names."""

import pytest
from pydantic import ValidationError

from eva.config import Training
from eva.errors import ConfigError
from workers.training import arguments
from workers.training.arguments import accumulation, trainer_arguments


@pytest.mark.parametrize(
    ("batch", "per_device", "devices", "expected"),
    [(32, None, 1, 1), (32, 8, 1, 4), (32, 4, 2, 4), (8, None, 4, 1), (8, 1, 8, 1), (1, None, 1, 1)],
)
def test_accumulation_makes_the_batch_global(batch: int, per_device: int | None, devices: int, expected: int) -> None:
    training = Training(batch=batch, per_device_batch=per_device)
    assert accumulation(training, devices) == expected
    found = trainer_arguments(training, seed=1, n_devices=devices, gpu=False, output_dir="x")
    at_once = found["per_device_train_batch_size"] * devices
    assert at_once * found["gradient_accumulation_steps"] == batch


@pytest.mark.parametrize(("batch", "per_device", "devices"), [(8, 3, 1), (8, 16, 1), (8, 2, 3), (2, None, 3)])
def test_a_batch_that_does_not_divide_is_refused(batch: int, per_device: int | None, devices: int) -> None:
    with pytest.raises(ConfigError, match=r"training\.batch is \d+.*Change training\.batch"):
        accumulation(Training().model_copy(update={"batch": batch, "per_device_batch": per_device}), devices)
    with pytest.raises(ValidationError, match="change batch or per_device_batch"):
        Training(batch=batch, per_device_batch=per_device, devices=devices)


def test_the_config_reaches_the_trainer() -> None:
    training = Training(
        learning_rate=1e-4, schedule="linear", warmup_ratio=0.2, epochs=3, adam_beta2=0.95, max_grad_norm=0.5
    )
    found = trainer_arguments(training, seed=7, n_devices=1, gpu=False, output_dir="x")
    expected = {
        "learning_rate": 1e-4,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.2,
        "num_train_epochs": 3,
        "max_steps": -1,
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "max_grad_norm": 0.5,
        "seed": 7,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": "none",
    }
    assert {name: found[name] for name in expected} == expected


def test_divided_weights_are_checkpointed_by_the_wrapper_that_gathers_them() -> None:
    asked = Training(devices=8, offload=True)
    found = trainer_arguments(asked, seed=0, n_devices=8, gpu=True, output_dir="x")
    assert found["fsdp"] and not found["gradient_checkpointing"]
    sharding = found["fsdp_config"]
    assert sharding["activation_checkpointing"] and sharding["cpu_offload"] and sharding["cpu_ram_efficient_loading"]
    whole = trainer_arguments(
        asked.model_copy(update={"sharding": "ddp"}), seed=0, n_devices=8, gpu=True, output_dir="x"
    )
    assert "fsdp" not in whole and whole["gradient_checkpointing"]
    kept = Training(activation_checkpointing=False)
    assert not trainer_arguments(kept, seed=0, n_devices=1, gpu=True, output_dir="x")["gradient_checkpointing"]


def test_an_optimiser_whose_package_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Training(optimiser="adamw_8bit")
    monkeypatch.setattr(arguments, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"adamw_8bit, but the package torchao is not installed.*extra `low-memory`"):
        trainer_arguments(asked, seed=0, n_devices=1, gpu=False, output_dir="x")
    monkeypatch.setattr(arguments, "find_spec", lambda name: object())
    assert trainer_arguments(asked, seed=0, n_devices=1, gpu=False, output_dir="x")["optim"] == "adamw_torch_8bit"


def test_exact_steps_replace_the_epochs() -> None:
    found = trainer_arguments(Training(max_steps=20), seed=0, n_devices=1, gpu=False, output_dir="x")
    assert found["max_steps"] == 20


def test_a_derived_seed_of_63_bits_fits_the_library() -> None:
    found = trainer_arguments(Training(), seed=2**63 - 1, n_devices=1, gpu=False, output_dir="x")
    assert 0 <= found["seed"] < 2**32


def test_a_constant_schedule_keeps_its_warm_up() -> None:
    found = trainer_arguments(Training(schedule="constant"), seed=0, n_devices=1, gpu=False, output_dir="x")
    assert found["lr_scheduler_type"] == "constant_with_warmup"


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValidationError):
        Training.model_validate({"loss": "no_such_loss"})
