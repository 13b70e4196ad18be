"""A run comes to be: its row, its seed prompts and its held-out prompts, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from eva.config import EnsembleReward, Evaluation, PointwiseReward, Prompts, RewardConfig, RunConfig
from eva.config.files import config_hash
from eva.config.solver import INITIAL
from eva.creator.metrics import metric_named
from eva.creator.novelty import load_check, question_key
from eva.creator.samplers import sampler_named
from eva.creator.weights import weighting_named
from eva.errors import ConfigError, PromptFileError
from eva.evaluation.baseline_file import BaselineResponses, read_baseline
from eva.measures.cost_estimate import estimate_cost
from eva.prompts.conversations import turn_texts
from eva.prompts.files import FilePrompt, PromptFile, read_prompt_file
from eva.solver.pairs import choice_named
from eva.types import Prompt
from orchestrator.launch.code_identity import code_identity
from orchestrator.stages.earlier_prompts import protected_texts
from store.game import comparisons, heldout, prompts
from store.rows import RunRow
from store.runs import events, runs
from store.session import Store
from workers.datasets import read_dataset
from workers.models import model_folder
from workers.models.embedding import check_embedding_model
from workers.playground import tasks
from workers.prices import price_of
from workers.rewards import model_class
from workers.tracking.process import check_tracking

FEWEST_PROMPTS = 2


@dataclass(frozen=True, slots=True)
class Material:
    """What a run starts from. `left_out` counts the prompts of the file that are not used, by reason.

    `cut` counts the conversations whose ends were left aside, by what stood there. `baselines` are the
    answers that came from files, by held-out set.
    """

    seeds: tuple[FilePrompt, ...]
    held_out: dict[str, tuple[FilePrompt, ...]]
    left_out: dict[str, int]
    cut: Mapping[str, int]
    baselines: dict[str, BaselineResponses]


def rewarder_of(config: RunConfig) -> str:
    """The name under which the rewards that a run decides by are stored."""
    return model_class(config.reward).name_of(config.reward)


def gather(config: RunConfig) -> Material:
    """Read seed prompts and held-out sets. Held-out prompts and overlaps with protected files are left out of
    the seeds and counted.

    Raises PromptFileError, and ConfigError when the sampler asks for topics that no prompt has.
    """
    held_out = _held_out(config)
    protected = {question_key(prompt.text, prompt.context) for prompts in held_out.values() for prompt in prompts}
    if config.prompts.playground is not None:
        texts = tasks.seed_prompts(config.prompts.playground, config.seed)
        file = PromptFile(tuple(map(FilePrompt, texts)), 0, {})
    else:
        file = read_seeds(config.prompts)
    found = file.prompts
    apart = tuple(prompt for prompt in found if question_key(prompt.text, prompt.context) not in protected)
    overlap = protected_texts(config.novelty.protected, config.novelty.protected_words)
    seeds = tuple(prompt for prompt in apart if not any(map(overlap.overlaps, turn_texts(prompt.text, prompt.context))))
    left_out = {"repeated": file.repeated, "held_out": len(found) - len(apart), "contaminated": len(apart) - len(seeds)}
    if len(seeds) < FEWEST_PROMPTS:
        source = config.prompts.path or config.prompts.dataset or "the playground"
        raise PromptFileError(
            f"{source} leaves {len(seeds)} seed prompts ({left_out})",
            expected=f"at least {FEWEST_PROMPTS}",
            next_move="Add prompts",
        )
    if config.sampling.sampler == "topic_balanced" and not any(prompt.topic for prompt in seeds):
        raise ConfigError(
            "sampling.sampler is topic_balanced, but no prompt has a topic",
            expected="prompts with topics",
            next_move="Set prompts.topic_field, or another sampler",
        )
    return Material(
        seeds,
        held_out,
        {reason: count for reason, count in left_out.items() if count},
        file.cut,
        _baselines(config.evaluation, held_out),
    )


def preflight(config: RunConfig) -> list[str]:
    """Everything that can be checked without starting anything, as lines of facts. Raises InputError subclasses."""
    material = gather(config)
    lines = [
        f"{len(material.seeds)} seed prompts"
        + "".join(f", {count} left out ({reason})" for reason, count in material.left_out.items())
    ]
    lines += [f"{count} rows were cut: {what}" for what, count in material.cut.items()]
    lines += [f"{len(prompts)} held-out prompts in {name}" for name, prompts in material.held_out.items()]
    lines += [
        f"{len(answers.texts)} answers of the baseline in {name}, {answers.unused} more not used, "
        f"{answers.repeated} to a prompt that had one"
        for name, answers in material.baselines.items()
    ]
    parts = preflight_parts(config)
    folder = model_folder.resolve_model(config.model.path, config.model.revision)
    return lines + _conversations(material, config, folder) + parts


def estimated(config: RunConfig) -> list[str]:
    """What the run would cost, as lines for a person. Raises InputError subclasses."""
    material = gather(config)
    facts = model_folder.inspect_model(model_folder.resolve_model(config.model.path, config.model.revision))
    prices = price_of(getattr(config.evolving.evolver, "model", None))
    held_out = sum(map(len, material.held_out.values()))
    return estimate_cost(config, len(material.seeds), held_out, facts.parameters, prices)


def preflight_parts(config: RunConfig) -> list[str]:
    """The checks of everything but the prompts, which a run that is there already has. Raises InputError subclasses."""
    metric_named(config.informativeness.metric, config.informativeness.threshold)
    weighting_named(config.sampling.weights)
    sampler_named(config.sampling.sampler)
    choice_named(config.pairs.choice)
    for spec in config.novelty.checks:
        load_check(spec)
    facts = model_folder.inspect_model(model_folder.resolve_model(config.model.path, config.model.revision))
    model_folder.require_template(facts, config.model)
    model_folder.require_memory(facts, config)
    lines = [f"{facts.architecture}, {facts.parameters:,} parameters"]
    if config.novelty.embedding_model is not None:
        known = check_embedding_model(config.novelty.embedding_model)
        lines.append(f"embeddings {known.architecture}, {known.parameters:,} parameters")
    for reward in (config.reward, config.evaluation.reward, config.audit.reward):
        if reward is not None:
            kind = model_class(reward)
            kind.check(reward)
            lines.append(f"reward {kind.name_of(reward)}")
    return lines + [check_tracking(tracking) for tracking in config.tracking]


def register_run(
    store: Store,
    config: RunConfig,
    *,
    note: str = "",
    tags: tuple[str, ...] = (),
    then: Callable[[Connection, RunRow], None] | None = None,
) -> RunRow:
    """Store a new run with its prompts, ready for a driver, and do what is to be done `then` in one transaction.

    Raises PromptFileError.
    """
    material = gather(config)
    with store.transaction() as conn:
        run = runs.create_run(
            conn,
            stem=config.name,
            config=config.model_dump(mode="json"),
            note=note,
            tags=tags,
            config_hash=config_hash(config),
            seed=config.seed,
            code=code_identity(config),
        )
        prompts.insert_prompts(
            conn,
            run.id,
            [
                Prompt(number, prompt.text, root=number, topic=prompt.topic, context=prompt.context)
                for number, prompt in enumerate(material.seeds)
            ],
        )
        for split, found in material.held_out.items():
            heldout.insert_heldout(
                conn, run.id, split, [prompt.text for prompt in found], [prompt.context for prompt in found]
            )
        for split, answers in material.baselines.items():
            comparisons.insert_baseline(conn, run.id, split, answers.texts)
        events.append_event(
            conn,
            run.id,
            "registered",
            {
                "prompts": len(material.seeds),
                "left_out": material.left_out,
                **({"cut": dict(material.cut)} if material.cut else {}),
            },
        )
        if then is not None:
            then(conn, run)
        return runs.get_run(conn, run.id)


def read_seeds(config: Prompts) -> PromptFile:
    """The prompts of the file or dataset. Raises PromptFileError."""
    if config.dataset is not None:
        return read_dataset(config)
    return read_prompt_file(
        Path(config.path or ""),
        field=config.field,
        topic_field=config.topic_field,
        system_field=config.system_field,
        limit=config.limit,
    )


def _held_out(config: RunConfig) -> dict[str, tuple[FilePrompt, ...]]:
    sets: dict[str, tuple[FilePrompt, ...]] = {}
    if config.evaluation.playground is not None:
        sets |= {
            name: tuple(map(FilePrompt, texts))
            for name, texts in tasks.heldout(per_set=config.evaluation.playground).items()
        }
    for name, path in config.evaluation.sets.items():
        sets[name] = read_prompt_file(Path(path)).prompts
    return sets


def _conversations(material: Material, config: RunConfig, folder: Path) -> list[str]:
    """How many prompts continue conversations, all of which the chat template can render. Raises ModelError."""
    contexts = [
        prompt.context
        for prompts in (material.seeds, *material.held_out.values())
        for prompt in prompts
        if prompt.context
    ]
    if not contexts:
        return []
    # It loads the tokenizer, for which plain prompts need not wait.
    from workers.models.chat_template import Prompting, require_conversations, require_rendering

    require_conversations(folder, config.model, contexts)
    for reward in _pointwise([config.reward, config.evaluation.reward, config.audit.reward]):
        # One of the hub is not here yet: there, a response that cannot be rendered gets its reason.
        if reward.template == "chat" and Path(reward.model).is_dir():
            require_rendering(
                Path(reward.model),
                Prompting("chat", None, reward.system_prompt),
                contexts,
                "Set the reward's template: none, or take another reward model",
            )
    return [f"{len(contexts)} prompts with messages before them, in orders that the chat template takes"]


def _pointwise(rewards: Iterable[RewardConfig | None]) -> Iterator[PointwiseReward]:
    """The pointwise rewarders among these and among the members of ensembles."""
    for reward in rewards:
        if isinstance(reward, PointwiseReward):
            yield reward
        elif isinstance(reward, EnsembleReward):
            yield from _pointwise([member.reward for member in reward.members])


def _baselines(config: Evaluation, held_out: Mapping[str, Sequence[FilePrompt]]) -> dict[str, BaselineResponses]:
    """Answers from files, by set. Raises ConfigError where there is no such set, PromptFileError."""
    named = config.baseline if isinstance(config.baseline, dict) else {}
    if absent := [name for name in config.judges_own if name not in held_out]:
        raise ConfigError(
            f"evaluation.judges_own names {', '.join(absent)}, but there is no such set",
            expected=f"one of: {', '.join(held_out)}",
            next_move="Correct evaluation.judges_own",
        )
    unknown = [name for name in named if name not in held_out]
    if unknown or (config.baseline is not None and not held_out):
        raise ConfigError(
            f"evaluation.baseline is given for {', '.join(unknown) or 'every held-out set'}, but there is no such set",
            expected=f"one of: {', '.join(held_out)}" if held_out else "a held-out set",
            next_move="Name the prompts' file under evaluation.sets, or leave the baseline out",
        )
    return {name: read_baseline(Path(path), held_out[name], name) for name, path in named.items() if path != INITIAL}
