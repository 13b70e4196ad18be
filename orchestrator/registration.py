"""A run comes to be: its row, its seed prompts and its held-out prompts, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eva.config import Prompts, RunConfig
from eva.config_files import config_hash
from eva.creator.metrics import metric_named
from eva.creator.novelty import text_key
from eva.creator.samplers import sampler_named
from eva.creator.weights import weighting_named
from eva.errors import ConfigError, PromptFileError
from eva.prompt_files import FilePrompt, PromptFile, read_prompt_file
from eva.solver.pairs import choice_named
from eva.types import Prompt
from orchestrator.known import protected_texts
from store import events, heldout, prompts, runs
from store.rows import RunRow
from store.session import Store
from workers import models
from workers.datasets import read_dataset
from workers.playground import tasks
from workers.rewards import model_class

FEWEST_PROMPTS = 2


@dataclass(frozen=True, slots=True)
class Material:
    """What a run starts from. `left_out` counts the prompts of the file that are not used, by reason."""

    seeds: tuple[FilePrompt, ...]
    held_out: dict[str, tuple[str, ...]]
    left_out: dict[str, int]


def gather(config: RunConfig) -> Material:
    """Read seed prompts and held-out sets. Held-out prompts and overlaps with protected files are left out of
    the seeds and counted.

    Raises PromptFileError, and ConfigError when the sampler asks for topics that no prompt has.
    """
    held_out = _held_out(config)
    protected = {text_key(text) for texts in held_out.values() for text in texts}
    if config.prompts.playground is not None:
        found = tuple(FilePrompt(text) for text in tasks.seed_prompts(config.prompts.playground, config.seed))
        repeated = 0
    else:
        file = read_seeds(config.prompts)
        found, repeated = file.prompts, file.repeated
    apart = tuple(prompt for prompt in found if text_key(prompt.text) not in protected)
    overlap = protected_texts(config.novelty.protected, config.novelty.protected_words)
    seeds = tuple(prompt for prompt in apart if not overlap.found(prompt.text))
    left_out = {"repeated": repeated, "held_out": len(found) - len(apart), "contaminated": len(apart) - len(seeds)}
    if len(seeds) < FEWEST_PROMPTS:
        source = config.prompts.path or config.prompts.dataset or "the playground"
        raise PromptFileError(f"{source} leaves {len(seeds)} seed prompts ({left_out})",
                              expected=f"at least {FEWEST_PROMPTS}", next_move="Add prompts")
    if config.sampling.sampler == "topic_balanced" and not any(prompt.topic for prompt in seeds):
        raise ConfigError("sampling.sampler is topic_balanced, but no prompt has a topic",
                          expected="prompts with topics", next_move="Set prompts.topic_field, or another sampler")
    return Material(seeds, held_out, {reason: count for reason, count in left_out.items() if count})


def preflight(config: RunConfig) -> list[str]:
    """Everything that can be checked without starting anything, as lines of facts. Raises InputError subclasses."""
    material = gather(config)
    metric_named(config.informativeness.metric, config.informativeness.threshold)
    weighting_named(config.sampling.weights)
    sampler_named(config.sampling.sampler)
    choice_named(config.pairs.choice)
    facts = models.inspect_model(models.resolve_model(config.model.path, config.model.revision))
    models.require_template(facts, config.model)
    models.require_memory(facts, config)
    lines = [f"{len(material.seeds)} seed prompts" + "".join(
        f", {count} left out ({reason})" for reason, count in material.left_out.items())]
    lines += [f"{len(texts)} held-out prompts in {name}" for name, texts in material.held_out.items()]
    lines.append(f"{facts.architecture}, {facts.parameters:,} parameters")
    for reward in (config.reward, config.evaluation.reward, config.audit.reward):
        if reward is not None:
            kind = model_class(reward)
            kind.check(reward)
            lines.append(f"reward {kind.name_of(reward)}")
    return lines


def register_run(store: Store, config: RunConfig) -> RunRow:
    """Store a new run with its prompts, ready for a driver. Raises PromptFileError."""
    material = gather(config)
    with store.transaction() as conn:
        run = runs.create_run(conn, stem=config.name, config=config.model_dump(mode="json"),
                              config_hash=config_hash(config), seed=config.seed)
        prompts.insert_prompts(conn, run.id, [
            Prompt(number, prompt.text, root=number, topic=prompt.topic)
            for number, prompt in enumerate(material.seeds)])
        for split, texts in material.held_out.items():
            heldout.insert_heldout(conn, run.id, split, texts)
        events.append_event(conn, run.id, "registered", {"prompts": len(material.seeds), "left_out": material.left_out})
        return runs.get_run(conn, run.id)


def read_seeds(config: Prompts) -> PromptFile:
    """The prompts of the file or dataset. Raises PromptFileError."""
    if config.dataset is not None:
        return read_dataset(config)
    return read_prompt_file(Path(config.path or ""), field=config.field, topic_field=config.topic_field,
                            limit=config.limit)


def _held_out(config: RunConfig) -> dict[str, tuple[str, ...]]:
    sets: dict[str, tuple[str, ...]] = {}
    if config.evaluation.playground is not None:
        sets |= {name: tuple(texts) for name, texts in tasks.heldout(per_set=config.evaluation.playground).items()}
    for name, path in config.evaluation.sets.items():
        sets[name] = tuple(prompt.text for prompt in read_prompt_file(Path(path)).prompts)
    return sets
