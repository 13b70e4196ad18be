"""Environments of the `verifiers` package: loading one, its data set as rows of prompts, its rollouts as rewards.

The package is an optional extra, and nothing of it is imported before a config names an environment.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import math
import signal
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from eva.config import Environment, Prompts
from eva.errors import ConfigError, PromptFileError
from eva.library_failures import first_line
from eva.prompts.files import PromptFile, read_prompts
from eva.prompts.rows import Row
from eva.runtime.import_path import add_user_folders

ANSWER = "answer"
PROTOCOL = "verifiers 0.1.9 or 0.1.10: dataset, single-turn rollout, rubric"
MODEL = "eva"
"""The name of the model in a rollout; nothing depends on it."""

Rollout = Mapping[str, Any]
"""What the package calls a state, once it was scored: `reward`, `metrics`, `error`."""

_failures: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("failures", default=None)


class SecondTurnError(Exception):
    """The environment asked for a second response."""


class AnsweringClient:
    """Stands for an OpenAI client in a rollout, which it answers once with a response that the fleet has generated.

    `client.chat.completions.create` and `client.completions.create` are both `create`.
    """

    def __init__(self, response: str) -> None:
        self._response: str | None = response
        self.chat = self.completions = self

    async def create(self, *, messages: object = None, **_: object) -> Any:
        """Returns the response as OpenAI's chat or text completion. Raises SecondTurnError when it is asked again."""
        from openai.types import Completion
        from openai.types.chat import ChatCompletion

        text, self._response = self._response, None
        if text is None:
            raise SecondTurnError("the environment asked for a second response, but only single turns are supported")
        about: dict[str, Any] = {"id": MODEL, "created": 0, "model": MODEL}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
        if messages is None:
            choice["text"] = text
            return Completion.model_validate(about | {"object": "text_completion", "choices": [choice]})
        choice["message"] = {"role": "assistant", "content": text}
        return ChatCompletion.model_validate(about | {"object": "chat.completion", "choices": [choice]})


class SingleTurn:
    """An environment with one turn. Raises ConfigError if it cannot be loaded, or has more turns.

    Its owner calls `tear_down` when it is done with it.
    """

    def __init__(self, config: Environment) -> None:
        self.name = config.id
        self._environment = _load(config)
        rubrics = [*_leaves(self._environment.rubric)]
        self.scores_together = any(rubric._is_group_func(function) for rubric in rubrics for function in rubric.funcs)
        """Whether a function of its rubric compares the responses to a prompt."""
        for rubric in rubrics:
            rubric.funcs = [_recording(function) for function in rubric.funcs]

    @property
    def in_messages(self) -> bool:
        """Whether it takes prompts as messages; otherwise as text."""
        return self._environment.message_type == "chat"

    def rows(self) -> list[Row]:
        """Returns the rows of its data set with their places. Raises PromptFileError if it has none."""
        try:
            data: Any = self._environment.get_dataset()
        except Exception as error:  # its builder is the user's code
            raise PromptFileError(
                f"the data set of environment {self.name!r} cannot be built ({first_line(error)})",
                expected="an environment with a data set of prompts to train on",
                next_move="Call its get_dataset() in Python",
            ) from error
        return [(f"row {number}", dict(row)) for number, row in enumerate(data, 1)]

    async def score(self, row: Mapping[str, Any], responses: Sequence[str]) -> list[tuple[Rollout, str]]:
        """Plays a rollout for each response to the prompt of a row, and scores them together.

        Returns each rollout with why it has no reward, "" if it has one. The package itself gives 0 where a function of
        the rubric fails.
        """
        task = {"task": self.name, **row}
        states: list[Any] = [
            await self._environment.rollout(task, AnsweringClient(response), MODEL, {}) for response in responses
        ]
        failures: list[str] = []
        token = _failures.set(failures)
        try:
            await self._environment.rubric.score_group(states)
        finally:
            _failures.reset(token)
        return [(state, _why_unrewarded(state, failures)) for state in states]

    async def tear_down(self) -> None:
        """Frees what the environment holds, by its own teardown handlers."""
        await self._environment._teardown()


def check_environment(config: Environment) -> None:
    """Loads the environment and frees it again. Raises what `SingleTurn` does."""
    asyncio.run(SingleTurn(config).tear_down())


def read_environment(config: Prompts) -> PromptFile:
    """Reads the prompts of an environment's data set, with its answers as references. Raises what `SingleTurn` does."""
    assert config.environment is not None, "called for prompts of an environment"
    environment = SingleTurn(config.environment)
    try:
        rows = environment.rows()
    finally:
        asyncio.run(environment.tear_down())
    return read_prompts(
        rows,
        f"environment {config.environment.id}",
        field=config.field or "prompt",
        topic_field=config.topic_field,
        system_field=config.system_field,
        reference_field=config.reference_field or ANSWER,
        limit=config.limit,
        skip_empty=config.skip_empty,
    )


def _load(config: Environment) -> Any:
    """Loads the environment as the package does: a module's `load_environment`. Raises ConfigError."""
    add_user_folders()
    try:
        import verifiers
    except ImportError as error:
        raise ConfigError(
            f"environment {config.id!r} needs the package verifiers, which is not installed ({error})",
            expected=PROTOCOL,
            next_move="Install eva with the extra `environments`: pip install 'eva-selfplay[environments]'",
        ) from error
    _leave_the_process_alone()
    with _own_signal_handlers():
        try:
            environment: Any = verifiers.load_environment(config.id, **config.args)
        except Exception as error:  # a user's module raises anything
            cause = error.__cause__ or error
            raise ConfigError(
                f"environment {config.id!r} cannot be loaded ({type(cause).__name__}: {first_line(cause)})",
                expected="an importable module of that name with a function load_environment that takes the arguments",
                next_move=f"Try `python -c 'import verifiers; verifiers.load_environment(\"{config.id}\")'`",
            ) from error
    if not isinstance(environment, verifiers.MultiTurnEnv) or environment.max_turns != 1:
        raise ConfigError(
            f"environment {config.id!r} is a {type(environment).__name__}, which may take several turns",
            expected="an environment with one turn, such as a SingleTurnEnv",
            next_move="docs/extending/environments.md says why, and what to do instead",
        )
    return environment


def _leave_the_process_alone() -> None:
    """Lets no environment register handlers of signals and of the process's end, as its constructor does.

    A run is paused by its driver's handler of SIGTERM, and the reward process tears its environment down itself.
    """
    from verifiers.envs import environment

    def ignore(*_: object) -> None:
        """Stands for `signal.signal` and `atexit.register`."""

    module: Any = environment
    names = {name: getattr(signal, name) for name in ("SIGINT", "SIGTERM", "default_int_handler")}
    module.signal, module.atexit = SimpleNamespace(signal=ignore, **names), SimpleNamespace(register=ignore)


@contextmanager
def _own_signal_handlers() -> Generator[None]:
    """Keeps this process's handlers of SIGINT and SIGTERM, which a user's module may replace when it is loaded."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _leaves(rubric: Any) -> Iterator[Any]:
    """The rubrics with functions of their own."""
    inner = getattr(rubric, "rubrics", None)
    if inner is None:
        yield rubric
        return
    for one in inner:
        yield from _leaves(one)


def _recording(function: Callable[..., Any]) -> Callable[..., Any]:
    """The rubric's function, which also says that it failed: the package gives 0 then."""

    def record(error: Exception) -> None:
        failures = _failures.get()
        if failures is not None:
            failures.append(f"{getattr(function, '__name__', function)} failed with {type(error).__name__}: {error}")

    async def awaited(value: Awaitable[Any]) -> Any:
        try:
            return await value
        except Exception as error:
            record(error)
            raise

    @functools.wraps(function)
    def recorded(*arguments: Any, **named: Any) -> Any:
        try:
            value = function(*arguments, **named)
        except Exception as error:
            record(error)
            raise
        return awaited(value) if inspect.isawaitable(value) else value

    return recorded


def _why_unrewarded(state: Rollout, failures: Sequence[str]) -> str:
    error = state.get("error")
    if error is not None:
        cause = getattr(error, "__cause__", None) or error
        return f"the rollout failed with {type(cause).__name__}: {cause}"
    if failures:
        return failures[0]
    reward = state.get("reward")
    return "" if isinstance(reward, int | float) and math.isfinite(reward) else f"the rubric returned {reward}"
