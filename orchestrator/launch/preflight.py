"""The checks of a new run: everything that can be found out before anything is stored or started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from eva.config import EnsembleReward, PointwiseReward, RewardConfig, RunConfig
from eva.config.cost_estimate import estimate_cost
from eva.creator.metrics import metric_named
from eva.creator.novelty import load_check
from eva.creator.samplers import sampler_named
from eva.creator.weights import weighting_named
from eva.solver.pairs import choice_named
from orchestrator.launch.material import Material, read_material
from workers.evolvers.completions import price_of
from workers.models import model_folder
from workers.models.embedding import check_embedding_model
from workers.models.model_folder import ModelFacts
from workers.rewards import model_class
from workers.tracking.process import check_tracking


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """A config that passed every check, with the prompts that the checks have read.

    `checks` says what was checked, one line each.
    """

    config: RunConfig
    material: Material
    model: ModelFacts
    checks: tuple[str, ...]


def check_run(config: RunConfig) -> CheckedRun:
    """Reads the prompts and checks everything that can be checked without starting anything.

    Raises subclasses of InputError.
    """
    material = read_material(config)
    lines = [
        f"{len(material.seeds)} seed prompts"
        + "".join(f", {count} left out ({reason})" for reason, count in material.left_out.items())
    ]
    lines += [f"{count} rows were cut: {what}" for what, count in material.cut.items()]
    lines += [f"{len(prompts)} held-out prompts in {name}" for name, prompts in material.held_out.items()]
    lines += [
        f"{len(answers.texts)} responses of the baseline in {name}, {answers.unused} more not used, "
        f"{answers.repeated} to a prompt that already had one"
        for name, answers in material.baselines.items()
    ]
    model = check_model(config)
    lines += _conversations(material, config, model.path)
    return CheckedRun(config, material, model, (*lines, *check_parts(config, model)))


def check_model(config: RunConfig) -> ModelFacts:
    """Inspects the model's folder. Raises ModelError when it is unusable or does not fit into the machine's memory."""
    model = model_folder.inspect_model(model_folder.resolve_model(config.model.path, config.model.revision))
    model_folder.require_template(model, config.model)
    model_folder.require_memory(model, config)
    return model


def check_parts(config: RunConfig, model: ModelFacts) -> list[str]:
    """Checks all parts except the prompts, which a fork shares with its parent. Raises subclasses of InputError."""
    metric_named(config.informativeness.metric, config.informativeness.threshold)
    weighting_named(config.sampling.weights)
    sampler_named(config.sampling.sampler)
    choice_named(config.pairs.choice)
    for spec in config.novelty.checks:
        load_check(spec)
    lines = [f"{model.architecture}, {model.parameters:,} parameters"]
    if config.novelty.embedding_model is not None:
        embedding = check_embedding_model(config.novelty.embedding_model)
        lines.append(f"embeddings {embedding.architecture}, {embedding.parameters:,} parameters")
    for reward in (config.reward, config.evaluation.reward, config.audit.reward):
        if reward is not None:
            kind = model_class(reward)
            kind.check(reward)
            lines.append(f"reward {kind.name_of(reward)}")
    return lines + [check_tracking(tracking) for tracking in config.tracking]


def estimate(run: CheckedRun) -> list[str]:
    """What the run would cost, as lines for a person."""
    prices = price_of(getattr(run.config.evolving.evolver, "model", None))
    held_out = sum(map(len, run.material.held_out.values()))
    return estimate_cost(run.config, len(run.material.seeds), held_out, run.model.parameters, prices)


def rewarder_of(config: RunConfig) -> str:
    """The name under which the rewards that decide a run are stored."""
    return model_class(config.reward).name_of(config.reward)


def _conversations(material: Material, config: RunConfig, folder: Path) -> list[str]:
    """Checks that the chat templates can render every prompt that continues a conversation. Raises ModelError."""
    contexts = [
        prompt.context
        for prompts in (material.seeds, *material.held_out.values())
        for prompt in prompts
        if prompt.context
    ]
    if not contexts:
        return []
    # loads the tokenizer, which a run without conversations does not need yet
    from workers.models.chat_template import Prompting, require_conversations, require_rendering

    require_conversations(folder, config.model, contexts)
    for reward in _pointwise([config.reward, config.evaluation.reward, config.audit.reward]):
        # a model of the hub is not downloaded yet: a response that it cannot render gets its reason during the run
        if reward.template == "chat" and Path(reward.model).is_dir():
            require_rendering(
                Path(reward.model),
                Prompting("chat", None, reward.system_prompt),
                contexts,
                "Set the reward's template to none, or choose another reward model",
            )
    return [f"{len(contexts)} prompts with messages before them, in orders that the chat template accepts"]


def _pointwise(rewards: Iterable[RewardConfig | None]) -> Iterator[PointwiseReward]:
    """The pointwise rewarders among these and among the members of ensembles."""
    for reward in rewards:
        if isinstance(reward, PointwiseReward):
            yield reward
        elif isinstance(reward, EnsembleReward):
            yield from _pointwise([member.reward for member in reward.members])
