"""A plan says what does not fit and the smallest change that would, and its minutes are those of worked examples."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from eva.capacity.machines import Machines, Node, parse_machines
from eva.capacity.placement import Demand, serving_demands, unplaced
from eva.capacity.plan import Models, Plan, plan_run
from eva.capacity.report import arithmetic, minutes, refusal, verdict
from eva.capacity.stage_times import StageTime, counts_of, engine_speed
from eva.config import RunConfig
from eva.config.files import load_config, presets, read_preset, with_overrides
from tests.support.model_shapes import CONFIGS, shape
from tests.support.structure import ROOT

HERE = Machines((Node(0),), None, "here", cores=2)
MACHINES = {
    "paper-dpo": "8x80",
    "paper-orpo": "8x80",
    "paper-simpo": "8x80",
    "paper-sppo": "8x80",
    "paper-rloo": "8x80",
    "paper-dpo-141gb": "8x141",
    "70b": "4:8x80",
    "small-24gb": "1x24",
}
"""The machines that a preset's comment promises to be enough."""


def plan(config: RunConfig, machines: str | Machines, prompts: int | None = None) -> Plan:
    found = parse_machines(machines) if isinstance(machines, str) else machines
    reward = str(getattr(config.reward, "model", ""))
    rewards = {"reward": shape(reward)} if reward in CONFIGS else {}
    return plan_run(config, Models(shape(config.model.path), rewards), found, prompts or config.prompts.limit or 100)


def paper(*overrides: str) -> RunConfig:
    return load_config("paper-dpo", overrides)


def stage_minutes(found: Plan) -> dict[str, float]:
    return {stage.name: stage.seconds / 60 for stage in found.stages}


def test_every_preset_for_gpus_has_its_machines_here() -> None:
    assert {*MACHINES} == {name for name in presets() if load_config(name).fleet.gpus_per_engine > 0}


@pytest.mark.parametrize(("name", "machines"), MACHINES.items())
def test_a_preset_fits_the_machines_that_its_comment_names(name: str, machines: str) -> None:
    found = plan(load_config(name), machines)
    assert not found.problems, verdict(found)
    memory = machines.rpartition("x")[2]
    assert f"{memory} GB" in read_preset(name).needs


@pytest.mark.parametrize("name", MACHINES)
def test_the_comment_of_a_preset_has_the_figures_of_the_arithmetic(name: str) -> None:
    found, needs = plan(load_config(name), MACHINES[name]), read_preset(name).needs
    roles = {role.name: role for role in found.roles}
    said = {role: int(size) for role, size in re.findall(r"(engines?|rewarder|training)[^;]*? with (\d+) GB", needs)}
    assert round(roles["engine"].need.total / 1e9) == (said.get("engines") or said["engine"])
    assert round(roles["reward"].need.total / 1e9) == said["rewarder"]
    assert round(roles["training"].need.total / 1e9) == said["training"]
    disk = int(re.findall(r"(\d+) GB", needs)[-1])
    assert found.disk / 1e9 < disk, "checkpoints, and the models beside them"
    if len(found.machines.nodes) > 1:
        assert f"{found.host / 1e9:.0f} GB of main memory" in needs


@pytest.mark.parametrize("name", MACHINES)
def test_the_page_about_scale_has_the_figures_of_the_arithmetic(name: str) -> None:
    page = (ROOT / "docs/scale.md").read_text("utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith("| `") and f"`{name}`" in line]
    found = plan(load_config(name), MACHINES[name])
    needs = {role.name: f"{role.need.total / 1e9:.0f} GB" for role in found.roles}
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert [cell.split(" on ")[0] for cell in cells[2:5]] == [needs["engine"], needs["reward"], needs["training"]]
    assert cells[5] == f"{found.iteration_s / 60:.0f}"


def test_the_page_about_scale_quotes_a_dry_run() -> None:
    page = (ROOT / "docs/scale.md").read_text("utf-8")
    for line in (
        *verdict(plan(load_config("paper-dpo"), "8x80")),
        *verdict(plan(paper("training.sharding=ddp"), "8x80")),
    ):
        assert f"    # {line}\n" in page
    minutes_of = stage_minutes(plan(load_config("paper-dpo"), "8x80"))
    assert f"| train | 5 | 12 | {minutes_of['train']:.0f} |" in page
    assert f"| **sum** | **13** | **40** | **{sum(minutes_of.values()):.0f}** |" in page


def test_what_was_coded_before_took_about_175_minutes_an_iteration() -> None:
    fleet = ("fleet.engines=3", "fleet.max_sequences=128", "reward.replicas=1")
    old = paper(*fleet, "training.devices=4", "training.sharding=ddp", "evolving.concurrency=16")
    found = stage_minutes(plan(old, "8xH100"))
    assert found["judge"] == pytest.approx(54, rel=0.15)
    assert found["train"] == pytest.approx(50, rel=0.15)
    assert found["evolve"] == pytest.approx(62, rel=0.05)
    assert sum(found.values()) == pytest.approx(175, rel=0.1)


def test_the_stages_come_within_reach_of_the_table() -> None:
    """Reachable: training 12 minutes at 40 % of the peak, evolving 8, the switch 3; writing 12 with full caches."""
    config = paper("training.attention=flex")
    found = stage_minutes(plan(config, "8xH100"))
    assert found["train"] == pytest.approx(12, rel=0.15)
    assert found["evolve"] == pytest.approx(8, rel=0.05) and found["switch"] == pytest.approx(3, rel=0.15)
    gpu = parse_machines("8xH100").gpu
    assert gpu is not None
    speed, sequences = engine_speed(shape(config.model.path), config, gpu)
    assert sequences == 193, "as many as the cache holds; vLLM's bound is 1,024"
    assert 48.6e6 / (8 * speed) / 60 == pytest.approx(16, rel=0.1), "12 minutes need more than half of the bandwidth"
    assert engine_speed(shape(config.model.path), paper("fleet.max_sequences=128"), gpu)[1] == 128


def test_training_that_does_not_fit_is_refused_with_the_smallest_change() -> None:
    found = plan(paper("training.sharding=ddp"), "8x80")
    refused = refusal(found)
    assert refused is not None and "training needs 214 GB on each GPU, which has 80 GB" in str(refused)
    assert refused.next_move == "The smallest change that fits: --set training.sharding=auto"
    four = plan(paper("training.devices=1", "training.per_device_batch=8"), "8x80")
    assert four.change == ("training.devices=4", "training.per_device_batch=2")


@pytest.mark.parametrize(
    ("overrides", "machines", "what"),
    [
        ((), "4x80", "engines and rewarders ask for 8 GPUs together: these machines (4 x"),
        (("fleet.gpus_per_engine=4", "fleet.engines=3"), "2:7x80", "no machine has 4 left for the next engine"),
        ((), "8x24", "an engine needs 24.3 GB on each of its GPUs, and may use 20.4 GB"),
        (("fleet.gpus_per_engine=4", "fleet.engines=1", "training.devices=2"), "2:2x80", "4 GPUs of one machine"),
        (("reward.batch_tokens=1000000",), "8x80", "reward needs"),
        (("fleet.engines=1", "training.devices=8"), "2x80", "training.devices is 8"),
        (("fleet.gpus_per_engine=0.8", "reward.gpus=0.2", "fleet.engines=1"), "8x80", "beside an engine"),
    ],
)
def test_the_change_that_a_refusal_names_lets_the_run_fit(overrides: tuple[str, ...], machines: str, what: str) -> None:
    config = paper(*overrides)
    found = plan(config, machines)
    assert any(what in problem.what for problem in found.problems), found.problems
    assert found.change is not None
    assert not plan(with_overrides(config, found.change), machines).problems


def test_gpus_that_others_use_are_said_and_refuse_nothing() -> None:
    found = plan(paper(), replace(parse_machines("8x80"), free_gpus=3.0))
    assert not found.problems and any(line.startswith("5 of the 8 GPUs are in use now") for line in verdict(found))


def test_training_with_a_store_works_on_one_machine() -> None:
    config = paper("checkpoints.store=s3://bucket/eva")
    assert not plan(config, "4:8x80").problems
    found = plan(config, "2:4x80")
    assert "training.devices is 8, and the largest machine has 4 GPUs" in found.problems[0].what
    assert found.change is not None
    assert not plan(with_overrides(config, found.change), "2:4x80").problems
    small = replace(HERE, free_disk=1)
    assert not [problem for problem in plan(config, small).problems if problem.area == "disk"], "they go elsewhere"


def test_a_large_model_is_not_sent_to_a_cpu_but_a_small_one_is() -> None:
    large = plan(paper(), HERE)
    assert "there is none: this machine (2 cores, no GPU)" in large.problems[0].what and large.change is None
    assert "--gpus 8x80" in verdict(large)[-1]
    tiny = load_config("small-24gb", ["fleet.gpus_per_engine=1", "prompts.limit=20", "generation.max_tokens=16"])
    assert plan(tiny, HERE, 20).change is not None


def test_a_disk_that_is_too_small_is_refused_and_keeping_the_last_is_advised() -> None:
    full = Machines(parse_machines("8x80").nodes, parse_machines("8x80").gpu, "here", free_disk=60 * 10**9)
    found = plan(paper(), full)
    assert "5 checkpoints of 18.5 GB need 92.4 GB of disk, and 60.0 GB are free" in found.problems[0].what
    assert found.change == ("checkpoints.keep=[last]",)


@pytest.mark.parametrize(("keep", "iterations"), [("all", 4), ("1", 2), ("9", 4), ("needed", 0)])
def test_token_records_take_8_bytes_a_token_in_each_iteration_that_is_kept(keep: str, iterations: int) -> None:
    config = paper("iterations=4", f"rollouts.keep={keep}")
    found = plan(config, "8x80", 1000)
    assert found.records == iterations * counts_of(config, 1000, 0).responses * 450 * 8
    said = [line for line in verdict(found) if line.startswith("disk for token records: ")]
    expected = f"disk for token records: {found.records / 1e9:.2f} GB (rollouts.keep says which stay)"
    assert said == [expected] * (iterations > 0)


def test_main_memory_that_is_too_small_is_refused() -> None:
    gpu = parse_machines("8x80").gpu
    small = Machines((Node(8, 40 * 10**9),), gpu, "here")
    assert "needs 55 GB of main memory" in plan(paper(), small).problems[0].what


def test_places_are_found_whole_gpus_first_and_never_across_machines() -> None:
    engines = [Demand("engine", 0.5), Demand("engine", 2), Demand("reward", 0.5)]
    assert not unplaced(engines, Machines((Node(2), Node(1))))
    assert unplaced(engines, Machines((Node(2),))) == [Demand("engine", 0.5), Demand("reward", 0.5)]
    assert unplaced([Demand("engine", 4)], Machines((Node(2), Node(2))))


def test_members_of_an_ensemble_share_the_gpus_of_its_processes() -> None:
    armo = {"kind": "pointwise", "model": "RLHFlow/ArmoRM-Llama3-8B-v0.1"}
    members = [{"reward": armo | {"gpus": 0.5, "replicas": 2}}, {"reward": armo | {"gpus": 1.5}}]
    reward = {"kind": "ensemble", "on": "rank", "members": members}
    config = RunConfig.model_validate(paper("fleet.engines=4").model_dump() | {"reward": reward})
    assert [demand for demand in serving_demands(config) if demand.role != "engine"] == [Demand("reward", 2.0)] * 2
    shapes = {f"reward.members.{place}.reward": shape(str(armo["model"])) for place in range(2)}
    found = plan_run(config, Models(shape(config.model.path), shapes), parse_machines("8x80"), 100)
    assert not found.problems
    assert {role.name: role.count for role in found.roles if role.name in shapes} == dict.fromkeys(shapes, 2)


def test_idle_gpus_cost_and_the_arithmetic_are_shown() -> None:
    found = plan(paper(), "8xH100")
    shown = "\n".join([*verdict(found, 2.5), *arithmetic(found)])
    assert re.search(r"GPUs: 8 for [\d.]+ GPU-hours in all, \$\d+ at \$2.5 each; \d+% of them idle", shown)
    assert "108,000 responses x 450 tokens = 48.6 M" in shown and "divided by 8; 2 rows x 2,048 tokens" in shown
    assert 0 < found.idle < 8 * found.iteration_s


def test_evolving_during_the_training_takes_only_what_the_training_leaves() -> None:
    def stages(*overrides: str) -> tuple[Plan, StageTime]:
        found = plan(paper(*overrides), "8xH100")
        return found, next(stage for stage in found.stages if stage.name == "evolve")

    serial, waits = stages("info_from=reuse", "evolving.overlap=false")
    ahead, hides = stages("info_from=reuse")
    assert (hides.seconds, hides.hidden) == (0.0, waits.seconds) and waits.seconds > 60
    assert serial.iteration_s - ahead.iteration_s == pytest.approx(waits.seconds)
    creating = serial.total_s - ahead.total_s
    assert creating == pytest.approx(waits.seconds * (paper().iterations - 1))
    assert "evolve 0 s (and 8 min during the training)" in "\n".join(verdict(ahead))
    _, slow = stages("info_from=reuse", "evolving.concurrency=4")
    train = next(stage for stage in ahead.stages if stage.name == "train")
    assert slow.hidden == train.seconds and slow.seconds > 0
    for overrides, why in (
        ([], "info_from is fresh"),
        (["info_from=reuse", "evolving.overlap=false"], "evolving.overlap is false"),
        (["info_from=reuse", "pool=archive"], "prompts of the archive"),
        (
            ["info_from=reuse", "evolving.evolver={kind: trained}", "evolving.mode=fan_out"],
            "the run's own engines write",
        ),
    ):
        found, evolve = stages(*overrides)
        assert evolve.hidden == 0 and why in "\n".join(arithmetic(found))
    _, first = stages("info_from=reuse", "warm_start=false")
    cold, all_iterations = plan(paper("info_from=reuse", "warm_start=false"), "8xH100"), paper().iterations
    assert cold.total_s == pytest.approx(all_iterations * cold.iteration_s + first.hidden)


def test_the_playground_takes_minutes_on_two_cores() -> None:
    llama = shape("Qwen/Qwen2.5-1.5B-Instruct").counting(858_496)
    found = plan_run(load_config("playground"), Models(llama, {}), HERE, 256, 300)
    assert not found.problems and 2 < found.total_s / 60 < 12
    assert [minutes(seconds) for seconds in (40, 720, 9360, 270_000)] == ["40 s", "12 min", "2.6 h", "3.1 days"]


def test_a_loss_over_ranked_responses_trains_on_all_of_them_at_once() -> None:
    """n is 6: six responses to a prompt in place of a pair, or five pairs."""

    def training(*overrides: str) -> StageTime:
        stages = plan(paper("training.per_device_batch=1", *overrides), "8x80").stages
        return next(stage for stage in stages if stage.name == "train")

    pair, several = training(), training("pairs.choice=all_vs_best")
    ranked = training("training.loss=plackett_luce", "pairs.choice=all_vs_best")
    rows = [int(re.findall(r"(\d+) rows at a time", stage.arithmetic)[0]) for stage in (pair, several, ranked)]
    assert rows == [2, 2, 6]
    assert [several.seconds / pair.seconds, ranked.seconds / pair.seconds] == pytest.approx([5, 3])


def test_training_takes_longer_with_each_policy_that_scores_what_is_trained_on() -> None:
    def seconds(loss: str) -> float:
        (train,) = (each for each in plan(paper(f"training.loss={loss}"), "8x80").stages if each.name == "train")
        return train.seconds

    ratios = {loss: seconds(loss) / seconds("dpo") for loss in ("simpo", "inpo", "onpo")}
    assert ratios == pytest.approx({"simpo": 6 / 8, "inpo": 10 / 8, "onpo": 18 / 8})


def test_a_creator_that_learns_takes_time_memory_and_records_of_its_own() -> None:
    def creating(*evolver: str) -> RunConfig:
        keys = ("mode=fan_out", "evolver.max_tokens=300", *(f"evolver.{each}" for each in evolver))
        own = {"evolving": {"evolver": {"kind": "trained"}, "mode": "fan_out"}}
        return with_overrides(RunConfig.model_validate(paper().model_dump() | own), [f"evolving.{key}" for key in keys])

    frozen, trained = (plan(creating(f"frozen={value}"), "8x80", 1000) for value in ("true", "false"))
    children = counts_of(creating(), 1000, 0).children
    with_frozen, with_trained = ({stage.name: stage for stage in found.stages} for found in (frozen, trained))
    assert f"{children:,} children x 300 tokens" in with_frozen["evolve"].arithmetic, "the engines write them"
    assert "train creator" not in with_frozen
    # one reply of 250 + 300 tokens for each child; pairs of 2 x (250 + 450) for each of 1000 prompts
    learning, solver = with_trained["train creator"], with_trained["train"]
    per_row = [float(stage.arithmetic.split(" rows")[0].replace(",", "")) for stage in (learning, solver)]
    assert per_row == [children, 2 * 1000 * creating().training.epochs]
    assert with_trained["switch"].seconds > with_frozen["switch"].seconds
    assert "read 3 x at" in with_frozen["switch"].arithmetic, "the creator, the policy again, the next policy"
    assert [role.name for role in trained.roles if "training" in role.name] == ["training", "creator's training"]
    assert trained.records - frozen.records == children * 300 * 8
    warm = trained.total_s - 3 * trained.iteration_s
    assert warm < trained.iteration_s - learning.seconds, "a warm-up has no creator"
