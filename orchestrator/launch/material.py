"""The prompts that a new run starts from, read from their files once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eva.config import Evaluation, Prompts, RunConfig
from eva.config.evaluation import INITIAL
from eva.creator.mixing import next_prompts
from eva.creator.novelty import ProtectedTexts, question_key
from eva.errors import ConfigError, PromptFileError
from eva.evaluation.baseline_file import BaselineResponses, read_baseline
from eva.evaluation.turns import HeldoutSet, split_turns
from eva.prompts.conversations import turn_texts
from eva.prompts.files import FilePrompt, PromptFile, read_prompt_file
from orchestrator.stages.earlier_prompts import protected_texts
from workers.datasets import read_dataset
from workers.environments import read_environment
from workers.playground import tasks

FEWEST_PROMPTS = 2
COMPARED_AT_ONCE = 10_000

Progress = Callable[[str, int, int | None], object]
"""Is told what is being checked, how many are done, and of how many, where that is known."""


def no_progress(what: str, done: int, total: int | None) -> None:
    """Shows nothing."""
    del what, done, total


@dataclass(frozen=True, slots=True)
class Material:
    """The seed prompts, the held-out prompts (turn 1 of each, with its later turns) and the baseline's responses.

    `left_out` counts the prompts of the file that are not used, by reason. `cut` counts the conversations whose last
    messages were dropped, by what those were; `joined` the prompts to which another column was joined. `unused` are the
    file's other columns. `baselines` holds the responses that came from files, by held-out set.
    """

    seeds: tuple[FilePrompt, ...]
    held_out: dict[str, tuple[FilePrompt, ...]]
    left_out: dict[str, int]
    cut: Mapping[str, int]
    joined: Mapping[str, int]
    unused: tuple[str, ...]
    baselines: dict[str, BaselineResponses]

    @property
    def turns(self) -> list[HeldoutSet]:
        """The held-out sets, each turn of a conversation being one."""
        return [turn for name, prompts in self.held_out.items() for turn in split_turns(name, prompts)]

    @property
    def held_out_count(self) -> int:
        """How many held-out prompts a policy responds to, each turn of a conversation counted."""
        return sum(len(turn.prompts) for turn in self.turns)


def read_material(config: RunConfig, progress: Progress = no_progress) -> Material:
    """Reads the seed prompts, the held-out sets and the baseline's responses that a config names.

    Seed prompts that are held out or overlap with a protected file are left out and counted. Raises PromptFileError,
    InputError when they are too few for `prompts.per_iteration`, and ConfigError when the sampler balances topics but
    no prompt has one.
    """
    held_out = _held_out(config)
    held_out_keys = {
        question_key(prompt.text, prompt.context)
        for name, prompts in held_out.items()
        for turn in split_turns(name, prompts)
        for prompt in turn.prompts.values()
    }
    if config.prompts.playground is not None:
        texts = tasks.seed_prompts(config.prompts.playground, config.seed)
        file = PromptFile(tuple(map(FilePrompt, texts)), 0, {})
    else:
        file = read_seeds(config.prompts, progress)
    training = tuple(
        prompt for prompt in file.prompts if question_key(prompt.text, prompt.context) not in held_out_keys
    )
    protected = protected_texts(config.novelty.protected, config.novelty.protected_words)
    seeds = _without_overlaps(training, protected, progress)
    left_out = {
        **file.empty,
        "repeated": file.repeated,
        "held_out": len(file.prompts) - len(training),
        "contaminated": len(training) - len(seeds),
    }
    if len(seeds) < FEWEST_PROMPTS:
        environment = config.prompts.environment and f"environment {config.prompts.environment.id}"
        source = config.prompts.path or config.prompts.dataset or environment or "the playground"
        raise PromptFileError(
            f"{source} leaves {len(seeds)} seed prompts ({left_out})",
            expected=f"at least {FEWEST_PROMPTS}",
            next_move="Add prompts",
        )
    if (size := config.prompts.per_iteration) is not None:
        next_prompts(range(len(seeds)), size, config.iterations - 1)
    if config.sampling.sampler == "topic_balanced" and not any(prompt.topic for prompt in seeds):
        raise ConfigError(
            "sampling.sampler is topic_balanced, but no prompt has a topic",
            expected="prompts with topics",
            next_move="Set prompts.topic_field, or choose another sampler",
        )
    return Material(
        seeds,
        held_out,
        {reason: count for reason, count in left_out.items() if count},
        file.cut,
        file.joined,
        file.unused,
        _baselines(config.evaluation, held_out),
    )


def _without_overlaps(
    prompts: Sequence[FilePrompt], protected: ProtectedTexts, progress: Progress
) -> tuple[FilePrompt, ...]:
    if not protected:
        return tuple(prompts)
    kept: list[FilePrompt] = []
    for start in range(0, len(prompts), COMPARED_AT_ONCE):
        progress("prompts compared with protected files", start, len(prompts))
        some = prompts[start : start + COMPARED_AT_ONCE]
        turns = [turn_texts(prompt.text, prompt.context) for prompt in some]
        owners_T = np.repeat(np.arange(len(turns)), [len(texts) for texts in turns])
        overlapping_T = protected.overlapping([text for texts in turns for text in texts])
        contaminated = set(owners_T[overlapping_T].tolist())
        kept += [prompt for place, prompt in enumerate(some) if place not in contaminated]
    return tuple(kept)


def read_seeds(config: Prompts, progress: Progress = no_progress) -> PromptFile:
    """Reads the prompts of the file or dataset. Raises PromptFileError."""

    def on_rows(rows: int) -> None:
        progress(f"rows of {config.path or config.dataset} read", rows, None)

    if config.environment is not None:
        file = read_environment(config)
    else:
        file = _read_file(config, on_rows) if config.dataset is None else read_dataset(config, on_rows)
    _require_references("prompts.reference_field", config.reference_field, [file])
    return file


def _read_file(config: Prompts, on_rows: Callable[[int], object]) -> PromptFile:
    return read_prompt_file(
        Path(config.path or ""),
        field=config.field,
        topic_field=config.topic_field,
        system_field=config.system_field,
        reference_field=config.reference_field,
        limit=config.limit,
        skip_empty=config.skip_empty,
        on_rows=on_rows,
    )


def _held_out(config: RunConfig) -> dict[str, tuple[FilePrompt, ...]]:
    sets: dict[str, tuple[FilePrompt, ...]] = {}
    if config.evaluation.playground is not None:
        sets |= {
            name: tuple(map(FilePrompt, texts))
            for name, texts in tasks.heldout(per_set=config.evaluation.playground).items()
            if name in config.evaluation.difficulties
        }
    later, field = config.evaluation.turns - 1, config.evaluation.reference_field
    files = {name: read_prompt_file(Path(path), reference_field=field) for name, path in config.evaluation.sets.items()}
    _require_references("evaluation.reference_field", field, [*files.values()])
    for name, file in files.items():
        sets[name] = tuple(replace(prompt, later=prompt.later[:later]) for prompt in file.prompts)
    turns = {turn.name: name for name, prompts in sets.items() for turn in split_turns(name, prompts)[1:]}
    if later and not turns:
        raise ConfigError(
            f"evaluation.turns is {config.evaluation.turns}, but no held-out prompt has a later turn",
            expected='a set with rows such as {"turns": ["…", "…"]}',
            next_move="Name such a file under evaluation.sets, or unset evaluation.turns",
        )
    if twice := [name for name in turns if name in sets]:
        raise ConfigError(
            f"evaluation.sets has {twice[0]}, which is what the later turn of {turns[twice[0]]} is called",
            expected="another name",
            next_move="Rename that set",
        )
    return sets


def _require_references(key: str, field: str | None, files: Sequence[PromptFile]) -> None:
    """Raises PromptFileError if a field of reference answers is set that no row has."""
    if field is None or any(prompt.reference is not None for file in files for prompt in file.prompts):
        return
    others = dict.fromkeys(name for file in files for name in file.unused)
    raise PromptFileError(
        f"{key} is {field!r}, but no row has a reference answer there",
        expected=f"one of the other columns: {', '.join(map(repr, others))}" if others else "a file with answers",
        next_move=f"Set {key} to the key of the right answer, or leave it out",
    )


def _baselines(config: Evaluation, held_out: Mapping[str, Sequence[FilePrompt]]) -> dict[str, BaselineResponses]:
    """The baseline's responses that come from files, by set. Raises ConfigError for an unknown set, PromptFileError."""
    files = config.baseline if isinstance(config.baseline, dict) else {}
    if absent := [name for name in config.judges_own if name not in held_out]:
        raise ConfigError(
            f"evaluation.judges_own names {', '.join(absent)}, but there is no such set",
            expected=f"one of: {', '.join(held_out)}",
            next_move="Correct evaluation.judges_own",
        )
    unknown = [name for name in files if name not in held_out]
    if unknown or (config.baseline is not None and not held_out):
        raise ConfigError(
            f"evaluation.baseline is set for {', '.join(unknown) or 'every held-out set'}, but there is no such set",
            expected=f"one of: {', '.join(held_out)}" if held_out else "a held-out set",
            next_move="Name the file of prompts under evaluation.sets, or remove the baseline",
        )
    return {name: read_baseline(Path(path), held_out[name], name) for name, path in files.items() if path != INITIAL}
