"""Sends messages to a language model through LiteLLM: retries, and counts tokens and cost."""

from __future__ import annotations

import email.utils
import json
import logging
import os
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NoReturn

from eva.config import EvolInstruct
from eva.config.cost_estimate import Prices
from eva.errors import ConfigError, EvolverError
from eva.seeds import generator
from eva.types import Reply
from workers.evolvers.pace import Pace
from workers.evolvers.replies import answer_of, strip_quotes

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
LONGEST_RETRY_AFTER_S = 300.0

DECLINED = "declined"
"""`Reply.finish` of a message that the model refuses: too long, or filtered."""

CHARACTERS_PER_TOKEN = 4
"""Of the languages that most prompts are in: what a service counts against its limits is known only afterwards."""

_RETRIED = (408, 409, 425, 429)
_TOO_MUCH = (408, 429, 503, 529)
"""No answer in time, and what services say when they are asked too much."""
_ABOUT_THE_PROMPT = (400, 413, 422)
_SEED_BITS = 31
"""Some providers accept no larger seeds."""


def import_litellm() -> Any:
    """Imports LiteLLM without its messages and network access: by default it downloads prices, prints and logs."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm  # takes seconds, so only where it is needed

    litellm.suppress_debug_info = True
    # Every failure is raised as an exception anyway.
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    return litellm


def price_of(model: str | None) -> Prices | None:
    """Returns USD per token of LiteLLM's `provider/model`, from the price map that LiteLLM ships: no network.

    None where the map does not list the model.
    """
    if model is None:
        return None
    price_map = _shipped_prices()
    row = price_map.get(model) or price_map.get(model.partition("/")[2])
    if not row or "input_cost_per_token" not in row or "output_cost_per_token" not in row:
        return None
    return Prices(float(row["input_cost_per_token"]), float(row["output_cost_per_token"]))


@cache
def _shipped_prices() -> dict[str, dict[str, Any]]:
    """The file of LiteLLM's package: LiteLLM takes seconds to import, and any code of a process may change its map."""
    file = distribution("litellm").locate_file("litellm/model_prices_and_context_window_backup.json")
    return json.loads(Path(str(file)).read_bytes())


class Completions:
    """Sends messages to one model. Safe to call from many threads, which wait where the service takes no more.

    Args:
        config: model, address, key, sampling, time-out, retries.
        pause: waits between attempts.

    Raises ConfigError when no provider knows the model or its key is missing.
    """

    def __init__(self, config: EvolInstruct, pause: Callable[[float], None] = time.sleep) -> None:
        self._config, self._pause, self._pace = config, pause, Pace()
        self._key = _key(config)
        self._litellm = import_litellm()
        from openai import OpenAIError  # the base class of all that LiteLLM raises; slow to import

        self._failure = OpenAIError
        self._answered = False
        self._check()

    def ask(self, message: str, seed: int) -> Reply:
        """Returns the reply to one user message. If the model refuses the message, it is empty and marked "declined".

        Raises EvolverError when all retries failed, ConfigError for an error that no retry can repair.
        """
        for attempt in range(self._config.retries + 1):
            try:
                return self._reply(self._in_turn(message, seed))
            except self._failure as error:
                if self._is_about_the_prompt(error):
                    return Reply("", finish=DECLINED)
                if not _is_passing(error):
                    self._refuse(error)
                if attempt == self._config.retries:
                    self._give_up(error)
                self._pause(_pause_s(error, attempt, seed))
        raise AssertionError("the last attempt returns or raises")

    def _in_turn(self, message: str, seed: int) -> Any:
        with self._pace.turn(len(message) // CHARACTERS_PER_TOKEN + self._config.max_tokens) as turn:
            try:
                response = self._complete(message, seed)
            except self._failure as error:
                if getattr(error, "status_code", None) in _TOO_MUCH:
                    turn.refused(_retry_after_s(error))
                raise
            turn.answered(_headers(response))
            return response

    def _complete(self, message: str, seed: int) -> Any:
        config = self._config
        return self._litellm.completion(
            model=config.model,
            messages=[{"role": "user", "content": message}],
            api_base=config.api_base,
            api_key=self._key,
            temperature=config.temperature,
            max_tokens=config.max_tokens,
            timeout=config.timeout_s,
            seed=seed % 2**_SEED_BITS,
            drop_params=True,
            # We retry ourselves: we honour Retry-After and know which errors may pass.
            max_retries=0,
            num_retries=0,
        )

    def _is_about_the_prompt(self, error: Exception) -> bool:
        """Whether the prompt is to blame: too long, filtered, or rejected although others were accepted."""
        known = (self._litellm.ContextWindowExceededError, self._litellm.ContentPolicyViolationError)
        status = getattr(error, "status_code", None)
        return isinstance(error, known) or (self._answered and status in _ABOUT_THE_PROMPT)

    def _reply(self, response: Any) -> Reply:
        self._answered = True
        usage = getattr(response, "usage", None)
        return Reply(
            text=_text(response),
            prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
            reply_tokens=getattr(usage, "completion_tokens", None) or 0,
            cost_usd=response._hidden_params.get("response_cost") or 0.0,  # the documented place
            finish=_finish(response),
        )

    def _check(self) -> None:
        config = self._config
        try:
            self._litellm.get_llm_provider(config.model)
        except self._litellm.BadRequestError:
            raise ConfigError(
                f"LiteLLM knows no provider for model {config.model!r}",
                expected="`provider/model`, e.g. `openai/gpt-4o-mini`",
                next_move="For your own server write `openai/NAME` and set `api_base`",
            ) from None
        if self._key or config.api_base:
            return
        missing = self._litellm.validate_environment(config.model)["missing_keys"]
        # Variables that are not keys have defaults or other sources (the machine's role, a local server).
        if missing and all(name.endswith("_API_KEY") for name in missing):
            raise ConfigError(
                f"model {config.model!r} needs a key, and {' or '.join(missing)} is not set",
                expected="the key in the environment",
                next_move="Set it, or name the variable that holds it in `api_key_env`",
            )

    def _refuse(self, error: Exception) -> NoReturn:
        # `from None`: a provider's message may contain the key, and a traceback would print it.
        raise ConfigError(
            f"{self._config.model} refused the evolver's request with {self._said(error)}",
            expected="a key, a model name and settings that the provider accepts",
            next_move="Correct `evolving.evolver` in the config, or the key in the environment",
        ) from None

    def _give_up(self, error: Exception) -> NoReturn:
        raise EvolverError(
            f"{self._config.model} failed {self._config.retries + 1} times, the last time with {self._said(error)}",
            expected="a reply within the retries",
            next_move="Resume the run when the service works again; raise `retries` or lower `concurrency`",
        ) from None

    def _said(self, error: Exception) -> str:
        line = " ".join(str(error).split())[:300]
        return line.replace(self._key, "***") if self._key else line


def _key(config: EvolInstruct) -> str | None:
    if config.api_key_env:
        key = os.environ.get(config.api_key_env)
        if not key:
            raise ConfigError(
                f"the environment variable {config.api_key_env} (`api_key_env`) is not set",
                expected="the provider's key in that variable",
                next_move=f"export {config.api_key_env}=…, or set `api_key_env` to another variable",
            )
        return key
    # Otherwise the key for OpenAI, if one is set, would be sent to another server.
    return "none" if config.api_base and config.model.startswith("openai/") else None


def _is_passing(error: Exception) -> bool:
    """Whether a retry may help: overload, time-outs, lost connections, errors of the server."""
    status = getattr(error, "status_code", None)
    return not isinstance(status, int) or status in _RETRIED or status >= 500


def _pause_s(error: Exception, attempt: int, seed: int) -> float:
    """Returns the server's Retry-After, otherwise exponential back-off; with jitter, so that callers spread out."""
    jitter = generator(seed, "pause", attempt).random()
    asked_s = _retry_after_s(error)
    if asked_s is not None:
        return min(asked_s, LONGEST_RETRY_AFTER_S) + jitter
    return min(FIRST_PAUSE_S * 2**attempt, LONGEST_PAUSE_S) * (0.5 + jitter)


def _retry_after_s(error: Exception) -> float | None:
    """Returns the seconds of the Retry-After header, a number or a date (RFC 9110, 10.2.3)."""
    response = getattr(error, "response", None)
    for headers in (getattr(error, "litellm_response_headers", None), getattr(response, "headers", None)):
        value = headers.get("retry-after") if headers else None
        if not value:
            continue
        try:
            return max(0.0, float(value))
        except ValueError:
            date = email.utils.parsedate_tz(value)
            return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None
    return None


def _headers(response: Any) -> dict[str, str]:
    """Returns the headers of a response. LiteLLM marks those that it does not know."""
    told: dict[str, Any] = response._hidden_params.get("additional_headers") or {}
    return {name.lower().removeprefix("llm_provider-"): str(value) for name, value in told.items()}


def _text(response: Any) -> str:
    choices = response.choices
    return strip_quotes(answer_of(choices[0].message.content or "")) if choices else ""


def _finish(response: Any) -> str:
    reason = response.choices[0].finish_reason if response.choices else "stop"
    return {"length": "length", "content_filter": DECLINED}.get(reason, "stop")
