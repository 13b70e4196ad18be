"""The checks of a new run: everything that can be found out before anything is stored or started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eva.capacity.machines import Machines
from eva.capacity.placement import members, reward_networks, rewarders
from eva.capacity.plan import Models, Plan, plan_run
from eva.capacity.report import refusal
from eva.capacity.serving_memory import context_tokens
from eva.config import (
    EvolInstruct,
    FeedbackEvolver,
    Guidance,
    JudgeReward,
    PointwiseReward,
    RunConfig,
)
from eva.config.cost_estimate import estimate_cost
from eva.creator.metrics import metric_named
from eva.creator.novelty import load_check
from eva.creator.operators.choice import choice_named as operator_choice_named
from eva.creator.samplers import sampler_named
from eva.creator.weights import weighting_named
from eva.errors import ConfigError, ModelError
from eva.evaluation.turns import with_responses
from eva.settings import Settings
from eva.solver.pairs import choice_named
from eva.storage.places import is_name, run_place
from eva.storage.stored_folder import StoredFolder
from orchestrator.launch.material import Material, Progress, no_progress, read_material
from workers.evolvers.completions import price_of
from workers.evolvers.endpoint_check import require_endpoint
from workers.fleet.model_interface import require_same_interface
from workers.models import model_folder
from workers.models.classifier import check_classifier
from workers.models.embedding import check_embedding_model
from workers.models.model_folder import PLAYGROUND, ModelFacts
from workers.models.model_shape import read_shape, small_files
from workers.rewards import model_class
from workers.rewards.guide import build_guide
from workers.tracking.process import check_tracking

ASSUMED_PROMPTS = 10_000
CPU_HEADS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""The sizes of attention heads that vLLM's CPU backend has kernels for (0.32)."""
SMALLEST_HEAD = 32


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """A config that passed every check, with the prompts that the checks have read.

    `checks` says what was checked, one line each. `plan`: what it needs of the machines that were asked about.
    """

    config: RunConfig
    material: Material
    model: ModelFacts
    checks: tuple[str, ...]
    plan: Plan | None = None


def find_machines(settings: Settings, *, connect: bool = False) -> Machines | None:
    """The machines that a run of these settings would use; None for a Ray cluster that is not asked (`connect`)."""
    from workers.cluster.machines import machines_here, machines_of_cluster

    if settings.ray_address is None:
        return machines_here(settings.data_dir, model_folder.available_memory())
    if not connect:
        return None
    # loads Ray, which a service does not need for this
    from workers.cluster.connection import ray_connection

    with ray_connection(settings):
        return machines_of_cluster()


def check_run(
    config: RunConfig,
    machines: Machines | None = None,
    offline: bool = False,
    progress: Progress = no_progress,
) -> CheckedRun:
    """Reads the prompts and checks everything that can be checked without starting anything.

    With `machines`, also that they have what the run needs, before any weights are fetched. `offline` asks no endpoint.
    Raises subclasses of InputError.
    """
    if machines is not None:
        require_fit(plan_of(config, machines))
    material = read_material(config, progress)
    lines = [
        f"{len(material.seeds)} seed prompts"
        + "".join(f", {count} left out ({reason})" for reason, count in material.left_out.items())
    ]
    lines += [f"{count} rows were cut: {what}" for what, count in material.cut.items()]
    lines += [f"column {name!r} was joined to the prompt in {count} rows" for name, count in material.joined.items()]
    lines += [f"columns that are not used: {', '.join(material.unused)}"] if material.unused else []
    lines += [f"{len(turn.prompts)} held-out prompts in {turn.name}" for turn in material.turns]
    if config.prompts.reference_field is not None:
        lines.append(
            f"{sum(seed.reference is not None for seed in material.seeds)} seed prompts have reference answers"
        )
    lines += [
        f"{len(answers.texts)} responses of the baseline in {name}, {answers.unused} more not used, "
        f"{answers.repeated} to a prompt that already had one"
        for name, answers in material.baselines.items()
    ]
    model = check_model(config)
    lines += _creator(config, model)
    lines += _conversations(material, config, model.path)
    lines += check_parts(config, model, offline=offline)
    plan = None
    if machines is not None:
        plan = plan_of(config, machines, len(material.seeds), material.held_out_count)
    return CheckedRun(config, material, model, tuple(lines), plan)


def check_fork(config: RunConfig, machines: Machines | None, prompts: int) -> tuple[str, ...]:
    """Checks a fork, which has its `prompts` already. Returns what was checked; raises as `check_run` does."""
    if machines is not None:
        require_fit(plan_of(config, machines, prompts))
    model = check_model(config)
    return (*_creator(config, model), *check_parts(config, model, offline=machines is None))


def plan_of(config: RunConfig, machines: Machines, seeds: int | None = None, held_out: int = 0) -> Plan | None:
    """What a run needs of these machines, from its models' config.json; None for a model whose shape is not known.

    Without the number of prompts, those of `prompts.limit` are counted, or 10,000.
    """
    policy = read_shape(config.model.path, config.model.revision)
    if policy is None:
        return None
    found = {key: read_shape(network.model, network.revision) for key, network in reward_networks(config)}
    rewards = {key: shape for key, shape in found.items() if shape is not None}
    prompts = seeds or config.prompts.playground or config.prompts.limit or ASSUMED_PROMPTS
    return plan_run(config, Models(policy, rewards), machines, prompts, held_out)


def require_fit(plan: Plan | None) -> None:
    """Raises ModelError for a plan with a problem: what does not fit, and the smallest change that would."""
    if plan is not None and (refused := refusal(plan)) is not None:
        raise refused


def check_model(config: RunConfig) -> ModelFacts:
    """Inspects the model's folder. Raises ModelError when it is unusable or does not fit into the machine's memory."""
    model = model_folder.inspect_model(model_folder.resolve_model(config.model.path, config.model.revision))
    model_folder.require_template(model, config.model)
    model_folder.require_memory(model, config)
    _require_servable(config, model.path)
    if config.model.path != PLAYGROUND or config.model.chat_template is not None:
        # loads the tokenizer, which the playground's own model does not need
        from workers.models.prompting_check import require_prompting

        require_prompting(model.path, config.model)
    return model


def _creator(config: RunConfig, model: ModelFacts) -> list[str]:
    """Checks the model of a creator with weights of its own: the solver's engines must serve it. Raises ModelError."""
    creator = config.evolving.creator
    if creator is None:
        return []
    kept = "never updated" if creator.frozen else f"updated by {creator.training.loss}"
    if creator.of_playground:
        folder = model_folder.resolve_model(PLAYGROUND)  # the creator is made from it, and shares its interface
    elif creator.model is not None:
        folder = model_folder.inspect_model(model_folder.resolve_model(creator.model)).path
    else:
        return [f"a creator that starts from the solver's weights, {kept}"]
    require_same_interface(folder, model.path)
    return [f"a creator with weights of its own, {kept}"]


def _require_servable(config: RunConfig, folder: Path) -> None:
    """Raises ModelError if no engine can serve the model: because of its heads, or no room is left for a prompt."""
    shape = read_shape(str(folder))
    if shape is None:
        return
    on_gpu = config.fleet.gpus_per_engine > 0
    if (on_gpu and (shape.head_dim % 8 or shape.head_dim < SMALLEST_HEAD)) or (
        not on_gpu and shape.head_dim not in CPU_HEADS
    ):
        raise ModelError(
            f"{folder} has attention heads of size {shape.head_dim}, which vLLM cannot serve "
            + ("on a GPU" if on_gpu else "on a CPU"),
            expected=f"a multiple of 8, at least {SMALLEST_HEAD}"
            if on_gpu
            else f"one of {', '.join(map(str, CPU_HEADS))}",
            next_move="Choose another model" + ("" if on_gpu else ", or serve it on a GPU (fleet.gpus_per_engine)"),
        )
    context = context_tokens(shape, config)
    if config.generation.max_tokens >= context:
        raise ModelError(
            f"generation.max_tokens {config.generation.max_tokens} leaves no room for a prompt",
            expected=f"less than the context of {context} tokens "
            + ("(fleet.max_model_len)" if config.fleet.max_model_len else "that the model has"),
            next_move="Lower generation.max_tokens",
        )


def check_parts(config: RunConfig, model: ModelFacts, *, offline: bool = False) -> list[str]:
    """Checks all parts except the prompts, which a fork shares with its parent. Raises subclasses of InputError."""
    metric_named(config.informativeness.metric, config.informativeness.threshold)
    weighting_named(config.sampling.weights)
    sampler_named(config.sampling.sampler)
    operator_choice_named(config.evolving.choice)
    choice_named(config.pairs.choice)
    for spec in config.novelty.checks:
        load_check(spec)
    build_guide(config.evolving.guide)
    lines = [f"{model.architecture}, {model.parameters:,} parameters"]
    if config.novelty.embedding_model is not None:
        embedding = check_embedding_model(config.novelty.embedding_model)
        lines.append(f"embeddings {embedding.architecture}, {embedding.parameters:,} parameters")
    if config.categories is not None:
        lines.append(check_classifier(config.categories))
    for _, reward in rewarders(config):
        kind = model_class(reward)
        kind.check(reward)
        lines.append(f"reward {kind.name_of(reward)}")
    _check_reward_templates(config)
    lines += [require_endpoint(service, key, offline=offline) for key, service in _services(config)]
    if (store := config.checkpoints.store) is not None:
        lines.append(_check_store(store, offline=offline))
    return lines + [check_tracking(tracking) for tracking in config.tracking]


def _check_store(store: str, *, offline: bool) -> str:
    """Checks that objects can be written, read and deleted. Raises ConfigError for a name, StorageError."""
    if is_name(store):
        raise ConfigError(
            f"checkpoints.store is {store!r}",
            expected="s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or an absolute path; the API takes names",
            next_move="Write the address of the store",
        )
    if offline:
        return f"checkpoints go to {store}, which is not asked now"
    StoredFolder(run_place(store, Path(), "probe"), pauses_s=()).probe()
    return f"checkpoints go to {store}: an object was written, read and deleted there"


def estimate(run: CheckedRun) -> list[str]:
    """What the run would cost, as lines for a person."""
    prices = price_of(getattr(run.config.evolving.evolver, "model", None))
    parameters = run.model.parameters if run.config.fleet.gpus_per_engine > 0 else None
    return estimate_cost(run.config, len(run.material.seeds), run.material.held_out_count, parameters, prices)


def rewarder_of(config: RunConfig) -> str:
    """The name under which the rewards that decide a run are stored."""
    return model_class(config.reward).name_of(config.reward)


def _conversations(material: Material, config: RunConfig, folder: Path) -> list[str]:
    """Checks that the chat templates can render every prompt that continues a conversation. Raises ModelError."""
    contexts = [prompt.context for prompt in material.seeds if prompt.context]
    for turn in material.turns:
        any_responses = ["a response"] * (turn.turn - 1)
        contexts += [
            with_responses(prompt.context, any_responses) for prompt in turn.prompts.values() if prompt.context
        ]
    if not contexts:
        return []
    # loads the tokenizer, which a run without conversations does not need yet
    from workers.models.chat_template import Prompting, require_conversations, require_rendering

    require_conversations(folder, config.model, contexts)
    for _, reward in reward_networks(config):
        # a model of the hub is not downloaded yet: a response that it cannot render gets its reason during the run
        if isinstance(reward, PointwiseReward) and reward.template == "chat" and Path(reward.model).is_dir():
            require_rendering(
                Path(reward.model),
                Prompting("chat", None, reward.system_prompt),
                contexts,
                "Set the reward's template to none, or choose another reward model",
            )
    return [f"{len(contexts)} prompts with messages before them, in orders that the chat template accepts"]


def _check_reward_templates(config: RunConfig) -> None:
    """Raises ModelError for a reward model whose chat template cannot work. One that cannot be fetched is left out."""
    for key, network in reward_networks(config):
        if isinstance(network, PointwiseReward) and network.template == "chat":
            folder = small_files(network.model, network.revision)
            if folder is not None:
                # loads the tokenizer
                from workers.models.prompting_check import require_reward_template

                require_reward_template(folder, key, network.system_prompt)


def _services(config: RunConfig) -> Iterator[tuple[str, EvolInstruct | JudgeReward | Guidance]]:
    """The language models behind endpoints, with their sections in the config."""
    evolver = config.evolving.evolver
    if isinstance(evolver, EvolInstruct):
        yield "evolving.evolver", evolver
    elif isinstance(evolver, FeedbackEvolver) and isinstance(evolver.writer, EvolInstruct):
        yield "evolving.evolver.writer", evolver.writer
    if config.evolving.guide is not None and config.evolving.guide.model is not None:
        yield "evolving.guide", config.evolving.guide
    for rewarder, reward in rewarders(config):
        for key, member in members(rewarder, reward):
            if isinstance(member, JudgeReward):
                yield key, member
