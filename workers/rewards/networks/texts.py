"""Turns a prompt and a response into the tokens that a pointwise reward model reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError

from eva.config import PointwiseReward
from eva.errors import ConfigError, ModelError
from eva.prompts.conversations import as_messages, has_system, transcript
from eva.types import Context
from workers.models.chat_template import Prompting, UnusablePromptError, load_tokenizer


@dataclass(frozen=True, slots=True)
class Text:
    """Token ids of a prompt with a response. `types`: segment ids of two texts; `turn`: where the response begins."""

    ids: list[int]
    types: list[int] | None = None
    turn: int = 0


class Texts:
    """Encodes texts for one reward model. `turn`: the text between the turns, if its position matters (ArmoRM).

    Raises ConfigError if the tokenizer's template cannot render an ordinary exchange.
    """

    def __init__(self, folder: Path, config: PointwiseReward, *, limit: int | None, turn: str | None = None) -> None:
        self._config, self._limit = config, limit
        template = "chat" if config.template == "chat" else "none"
        try:
            self.tokenizer: Any = load_tokenizer(str(folder), Prompting(template))
            self._turn = None if turn is None else self._ids(turn)
            self._text("Which colour has the sky?", "Blue.")
        except (ModelError, UnusablePromptError, TemplateError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{folder} cannot render an exchange: {(str(error).strip() or repr(error)).splitlines()[0]}",
                expected="a tokenizer whose chat template knows the roles user and assistant"
                + (" and system" if config.system_prompt is not None else ""),
                next_move="Correct reward.model or reward.architecture, or set reward.template: none or pair",
            ) from error

    def encode(self, prompt: str, response: str, context: Context = ()) -> Text:
        """Raises UnusablePromptError with the reason why this response cannot be rewarded."""
        try:
            text = self._text(prompt, response, context)
        except (TemplateError, ValueError, TypeError) as error:
            raise UnusablePromptError(f"cannot be encoded for the reward model: {error}") from error
        if self._limit is not None and len(text.ids) > self._limit:
            raise UnusablePromptError(f"too long for the reward model: {len(text.ids)} tokens, at most {self._limit}")
        return text

    def _text(self, prompt: str, response: str, context: Context = ()) -> Text:
        system = self._config.system_prompt
        if self._config.template == "pair":
            both = self.tokenizer(transcript(prompt, context), response)
            return Text(list(both["input_ids"]), both.get("token_type_ids"))
        if self._config.template == "none":
            before = [] if system is None or has_system(context) else [system]
            return Text(list(self.tokenizer.encode("\n\n".join([*before, transcript(prompt, context), response]))))
        messages = as_messages(prompt, context, system)
        ids = self._ids(self._render([*messages, {"role": "assistant", "content": response}]))
        if self._turn is None:
            return Text(ids)
        # Searched for in the prompt only: a response that contains the pattern must not move the gate.
        return Text(ids, turn=_turn_of(self._ids(self._render(messages, add_generation_prompt=True)), self._turn, ids))

    def _render(self, messages: list[dict[str, str]], **more: bool) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, **more)

    def _ids(self, rendered: str) -> list[int]:
        # The template writes BOS itself if the model needs one; the tokenizer must not add another.
        return list(self.tokenizer.encode(rendered, add_special_tokens=False))


def _turn_of(prompt_ids: list[int], pattern: list[int], ids: list[int]) -> int:
    """Returns where the pattern last begins in the prompt. The whole text must start with the prompt."""
    size = len(pattern)
    for start in range(len(prompt_ids) - size, -1, -1):
        if prompt_ids[start : start + size] == pattern:
            if ids[: start + size] == prompt_ids[: start + size]:
                return start
            break
    raise UnusablePromptError("the chat template does not separate the turns as ArmoRM's does")
