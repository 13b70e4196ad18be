"""The plain side of benchmarks.iteration: one stage in a process of its own, which reads and writes files.

    python -m benchmarks.process_per_stage STAGE FOLDER

STAGE is `respond` (vllm.LLM), `reward`, `choose` (estimate, sample, evolve, mix), `pair` or `train` (TRL). A job.json
in the folder has the config, the policy and the prompts. This is how the paper's scripts and their kin play an
iteration: each stage loads what it needs, works through everything, and writes a file for the next one.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from eva.config import RunConfig
from eva.creator.evolution import EvolutionPlan, evolve_all
from eva.creator.informativeness import estimate
from eva.creator.mixing import mix, share_of
from eva.creator.sampling import sample
from eva.solver.pairs import pair
from eva.types import Checkpoint, PreferencePair, Prompt, PromptResponses, Response, RewardTable, TrainingJob


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def respond(folder: Path, config: RunConfig, policy: Checkpoint) -> None:
    """Writes n responses to each prompt of texts.json."""
    from vllm import LLM, SamplingParams

    from workers.fleet import placement
    from workers.fleet.engine import engine_arguments
    from workers.models.chat_template import PromptEncoder
    from workers.models.model_folder import inspect_model

    setup = placement.engine_setup(config, inspect_model(Path(policy.path)))
    llm, encoder = LLM(**engine_arguments(setup, policy.path)), PromptEncoder(policy.path, setup.prompting)
    texts, given = read(folder / "texts.json"), config.generation
    sampling = [
        SamplingParams(
            n=given.n, temperature=given.temperature, top_p=given.top_p, max_tokens=given.max_tokens, seed=number
        )
        for number in range(len(texts))
    ]
    outputs = llm.generate([{"prompt_token_ids": encoder.encode(text)} for text in texts], sampling, use_tqdm=False)
    rows = [[[made.text, made.finish_reason] for made in output.outputs] for output in outputs]
    (folder / "responses.json").write_text(json.dumps(rows))


def reward(folder: Path, config: RunConfig, policy: Checkpoint) -> None:
    """Writes the reward of each response."""
    from workers.rewards import model_class
    from workers.rewards.local import LocalRewarder

    del policy
    rewarder = LocalRewarder("plain", model_class(config.reward)(config.reward))
    rewarded = rewarder.reward(answered(folder))
    (folder / "rewards.json").write_text(json.dumps([[one.value for one in row.rewards] for row in rewarded]))


def answered(folder: Path) -> list[PromptResponses]:
    texts, responses = read(folder / "texts.json"), read(folder / "responses.json")
    return [
        PromptResponses(
            number,
            text,
            tuple(Response(place, made, finish, 0, 0) for place, (made, finish) in enumerate(responses[number])),
        )
        for number, text in enumerate(texts)
    ]


def choose(folder: Path, config: RunConfig, policy: Checkpoint) -> None:
    """Estimates the pool, samples, evolves and mixes; the batch is the next texts.json."""
    from workers.evolvers import build_evolver

    del policy
    table, texts = judged(folder), read(folder / "texts.json")
    info = estimate(table, metric=config.informativeness.metric, threshold=None)
    subset = sample(
        info, share_of(config.sampling.fraction, len(texts)), config.sampling.rule, seed=config.seed, iteration=2
    ).subset
    evolving = config.evolving
    plan = EvolutionPlan(
        config.seed,
        2,
        evolving.per_prompt,
        evolving.attempts,
        evolving.mode,
        evolving.max_chars,
        evolving.similarity,
        frozenset(),
        frozenset(),
    )
    sources = [Prompt(number, texts[number]) for number in subset]
    chains = evolve_all(sources, build_evolver(evolving), plan, evolving.chains_at_once)
    children = [attempt.reply.text for chain in chains for attempt in chain.accepted]
    mixed = mix(
        list(range(len(texts), len(texts) + len(children))),
        list(range(len(texts))),
        len(texts),
        child_share=config.mixing.children,
        buffer_share=config.mixing.buffer,
        seed=config.seed,
        iteration=2,
    )
    every = [*texts, *children]
    (folder / "texts.json").write_text(json.dumps([every[number] for number in mixed.batch]))


def judged(folder: Path) -> RewardTable:
    rewards_P_N = np.array(read(folder / "rewards.json"), dtype=np.float64)
    made = answered(folder)
    hashes_P_N = np.array([[hash(one.text) for one in row.responses] for row in made], dtype=np.int64)
    cut_P_N = np.array([[one.finish == "length" for one in row.responses] for row in made])
    return RewardTable(np.arange(len(made)), rewards_P_N, hashes_P_N, cut_P_N)


def write_pairs(folder: Path, config: RunConfig, policy: Checkpoint) -> None:
    """Writes the preference pairs of the batch."""
    del policy
    made = answered(folder)
    pairing = pair(judged(folder), seed=config.seed, iteration=2, keep_cut=False, **dict(config.pairs))
    with (folder / "pairs.jsonl").open("w") as lines:
        for one in pairing.pairs:
            chosen, rejected = (made[one.number].responses[place].text for place in (one.chosen, one.rejected))
            row = PreferencePair(
                one.number, made[one.number].text, chosen, rejected, one.chosen_reward, one.rejected_reward
            )
            lines.write(json.dumps({key: value for key, value in asdict(row).items() if key != "context"}) + "\n")


def train(folder: Path, config: RunConfig, policy: Checkpoint) -> None:
    """Trains the policy and writes a checkpoint."""
    from workers.training.job import run_job

    job = TrainingJob(
        number=policy.number + 1,
        iteration=2,
        policy=policy,
        reference=policy,
        pairs_path=str(folder / "pairs.jsonl"),
        folder=str(folder),
        seed=1,
        fence=1,
    )
    run_job(job, config.training, config.model)


STAGES = {"respond": respond, "reward": reward, "choose": choose, "pair": write_pairs, "train": train}
ITERATION = ("respond", "reward", "choose", "respond", "reward", "pair", "train")
"""The processes of an iteration, one after the other."""


def main(stage: str, folder: Path) -> None:
    job = read(folder / "job.json")
    STAGES[stage](folder, RunConfig.model_validate(job["config"]), Checkpoint(**job["policy"]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
