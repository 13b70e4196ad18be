"""One question to a language model through LiteLLM: asked, retried, priced."""

from __future__ import annotations

import email.utils
import logging
import os
import time
from collections.abc import Callable
from typing import Any, NoReturn

from eva.config import EvolInstruct
from eva.errors import ConfigError, EvolverError
from eva.measures.cost_estimate import Prices
from eva.seeds import generator
from eva.types import Reply

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
LONGEST_RETRY_AFTER_S = 300.0

DECLINED = "declined"
"""`Reply.finish` of a message that the model will not take: too long, or filtered."""

_RETRIED = (408, 409, 425, 429)
_ABOUT_THE_PROMPT = (400, 413, 422)
_SEED_BITS = 31
"""Some providers take no larger seeds."""

_QUOTES = ('""', "''", "``", "“”", "«»")


def import_litellm() -> Any:
    """LiteLLM, silent and without the network: it would fetch prices, print and log by itself."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm  # it takes seconds, and only this evolver needs it

    litellm.suppress_debug_info = True
    # Every failure reaches us as an exception.
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    return litellm


def price_of(model: str | None) -> Prices | None:
    """Returns USD per token of LiteLLM's `provider/model`, from the price map that LiteLLM ships: no network.

    None where the map does not list the model.
    """
    if model is None:
        return None
    price_map: dict[str, Any] = import_litellm().model_cost
    row = price_map.get(model) or price_map.get(model.partition("/")[2])
    if not row or "input_cost_per_token" not in row or "output_cost_per_token" not in row:
        return None
    return Prices(float(row["input_cost_per_token"]), float(row["output_cost_per_token"]))


class Completions:
    """Asks one model. Safe to call from many threads.

    Args:
        config: model, address, key, sampling, time-out, retries.
        pause: how it waits between tries.

    Raises ConfigError when no provider knows the model or its key is missing.
    """

    def __init__(self, config: EvolInstruct, pause: Callable[[float], None] = time.sleep) -> None:
        self._config, self._pause = config, pause
        self._key = _key(config)
        self._litellm = import_litellm()
        from openai import OpenAIError  # base of everything that LiteLLM raises; as slow to import

        self._failure = OpenAIError
        self._answered = False
        self._check()

    def ask(self, message: str, seed: int) -> Reply:
        """One reply to one user message; an empty one, "declined", when the model will not take this message.

        Raises EvolverError after the retries, ConfigError at once.
        """
        for attempt in range(self._config.retries + 1):
            try:
                return self._reply(self._complete(message, seed))
            except self._failure as error:
                if self._is_about_the_prompt(error):
                    return Reply("", finish=DECLINED)
                if not _is_passing(error):
                    self._refuse(error)
                if attempt == self._config.retries:
                    self._give_up(error)
                self._pause(_pause_s(error, attempt, seed))
        raise AssertionError("the last try returns or raises")

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
            # The retries are ours: they honour Retry-After and know what is worth trying again.
            max_retries=0,
            num_retries=0,
        )

    def _is_about_the_prompt(self, error: Exception) -> bool:
        """Too long, filtered, or called invalid by a service that took others with the same settings."""
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
            cost_usd=response._hidden_params.get("response_cost") or 0.0,  # LiteLLM documents it there
            finish=_finish(response),
        )

    def _check(self) -> None:
        config = self._config
        try:
            self._litellm.get_llm_provider(config.model)
        except self._litellm.BadRequestError:
            raise ConfigError(
                f"no provider of LiteLLM's is meant by model {config.model!r}",
                expected="`provider/model`, e.g. `openai/gpt-4o-mini`",
                next_move="For a server of yours write `openai/NAME` and give its `api_base`",
            ) from None
        if self._key or config.api_base:
            return
        missing = self._litellm.validate_environment(config.model)["missing_keys"]
        # Other variables than keys have defaults or other sources (a machine's role, a local server).
        if missing and all(name.endswith("_API_KEY") for name in missing):
            raise ConfigError(
                f"model {config.model!r} needs a key, and {' or '.join(missing)} is not set",
                expected="the key in the environment",
                next_move="Set it, or name the variable that holds it in `api_key_env`",
            )

    def _refuse(self, error: Exception) -> NoReturn:
        # `from None`: a provider's message may quote the key, and a traceback would print it.
        raise ConfigError(
            f"{self._config.model} refused the evolver's request with {self._said(error)}",
            expected="a key, a model name and settings that the provider accepts",
            next_move="Correct `evolving.evolver` in the config, or the key in the environment",
        ) from None

    def _give_up(self, error: Exception) -> NoReturn:
        raise EvolverError(
            f"{self._config.model} failed {self._config.retries + 1} times, at last with {self._said(error)}",
            expected="an answer within the retries",
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
                expected="the provider's key in it",
                next_move=f"export {config.api_key_env}=…, or name another variable",
            )
        return key
    # Else the key of the real OpenAI, if one is set, would be sent to somebody's server.
    return "none" if config.api_base and config.model.startswith("openai/") else None


def _is_passing(error: Exception) -> bool:
    """Whether trying again may help: overload, time-outs, lost connections, faults of the server."""
    status = getattr(error, "status_code", None)
    return not isinstance(status, int) or status in _RETRIED or status >= 500


def _pause_s(error: Exception, attempt: int, seed: int) -> float:
    """What the server asks for, else exponential back-off; both with jitter, so that callers spread."""
    jitter = generator(seed, "pause", attempt).random()
    asked_s = _retry_after_s(error)
    if asked_s is not None:
        return min(asked_s, LONGEST_RETRY_AFTER_S) + jitter
    return min(FIRST_PAUSE_S * 2**attempt, LONGEST_PAUSE_S) * (0.5 + jitter)


def _retry_after_s(error: Exception) -> float | None:
    """Seconds from the Retry-After header, given as a number or as a date (RFC 9110, 10.2.3)."""
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


def _text(response: Any) -> str:
    choices = response.choices
    return strip_quotes(choices[0].message.content or "") if choices else ""


def _finish(response: Any) -> str:
    reason = response.choices[0].finish_reason if response.choices else "stop"
    return {"length": "length", "content_filter": DECLINED}.get(reason, "stop")


def strip_quotes(text: str) -> str:
    """Without surrounding white space and one pair of quotes that encloses the whole."""
    text = text.strip()
    for opening, closing in _QUOTES:
        inner = text[1:-1]
        if len(text) > 2 and text[0] == opening and text[-1] == closing and closing not in inner:
            return inner.strip()
    return text
