"""Rewards from an environment of the `verifiers` package: its rollout around each response, scored by its rubric."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from eva.config import EnvironmentReward
from eva.creator.novelty import prompt_key
from eva.errors import PromptFileError
from eva.prompts.conversations import as_messages, transcript
from eva.prompts.files import read_prompts
from eva.types import Reward
from workers.environments import ANSWER, Rollout, SingleTurn, check_environment
from workers.rewards.model import Alive, RewardRequest, reason
from workers.rewards.verifier import NO_REFERENCE


class EnvironmentModel:
    """An environment as a reward model. Its data set tells answer and info of the prompts that it holds."""

    def __init__(self, config: EnvironmentReward) -> None:
        self._config, self._environment = config, SingleTurn(config)
        self._rows = _rows_by_prompt(self._environment)
        self._loop = asyncio.Runner()

    @staticmethod
    def name_of(config: EnvironmentReward) -> str:
        """Returns `environment`, its id, and its arguments, if it is given any."""
        arguments = json.dumps(config.args, sort_keys=True, default=str)
        return f"environment:{config.id}" + (f":{arguments}" if config.args else "")

    @staticmethod
    def check(config: EnvironmentReward) -> None:
        """Loads the environment. Raises ConfigError if that fails or it has more than one turn."""
        check_environment(config)

    @property
    def patience_s(self) -> float:
        return 1.5 * self._config.timeout_s + 1.0

    def reward_many(self, requests: Sequence[RewardRequest], alive: Alive) -> list[tuple[Reward, ...]]:
        """Rewards one response after the other, or all of a prompt together where the rubric compares them."""
        rewarded: list[tuple[Reward, ...]] = []
        for request in requests:
            row = self._row(request)
            if row is None:
                rewarded.append((Reward(None, NO_REFERENCE),) * len(request.responses))
                continue
            together = self._environment.scores_together
            rewards: list[Reward] = []
            for group in [request.responses] if together else [(response,) for response in request.responses]:
                alive()
                rewards += self._loop.run(self._score(row, group))
            rewarded.append(tuple(rewards))
        return rewarded

    def close(self) -> None:
        try:
            self._loop.run(self._environment.tear_down())
        finally:
            self._loop.close()

    def _row(self, request: RewardRequest) -> Mapping[str, Any] | None:
        """The row that the prompt comes from; for any other prompt, one with its reference answer. None without one."""
        known = self._rows.get(prompt_key(request.prompt, request.context))
        if known is not None:
            return known
        if request.reference is None and self._config.needs_answer:
            return None
        messages, text = as_messages(request.prompt, request.context), transcript(request.prompt, request.context)
        prompt = messages if self._environment.in_messages else text
        return {"prompt": prompt, ANSWER: request.reference or "", "example_id": -1, "info": {}}

    async def _score(self, row: Mapping[str, Any], responses: Sequence[str]) -> list[Reward]:
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return [_reward(*scored) for scored in await self._environment.score(row, responses)]
        except TimeoutError:
            return [Reward(None, f"timed out after {self._config.timeout_s:g} s")] * len(responses)
        except Exception as error:  # noqa: BLE001, user code raises anything
            return [Reward(None, reason(f"{type(error).__name__}: {error}"))] * len(responses)


def _reward(state: Rollout, why: str) -> Reward:
    if why:
        return Reward(None, reason(why))
    metrics: Mapping[str, float] = state.get("metrics") or {}
    return Reward(float(state["reward"]), None, tuple((name, Reward(float(value))) for name, value in metrics.items()))


def _rows_by_prompt(environment: SingleTurn) -> dict[int, Mapping[str, Any]]:
    """The rows of its data set by their prompts' keys."""
    rows: dict[int, Mapping[str, Any]] = {}
    for place, row in environment.rows():
        with suppress(PromptFileError):  # no run has a prompt of this row (prompts.skip_empty)
            (prompt,) = read_prompts([(place, row)], environment.name, field="prompt").prompts
            rows.setdefault(prompt_key(prompt.text, prompt.context), row)
    return rows
