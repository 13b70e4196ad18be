"""Turns prompts into token ids: through the chat template once, with at most one BOS.

transformers is imported when a tokenizer is loaded: a driver never does, and so starts in half the time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jinja2.exceptions import TemplateError

from eva.config import Model
from eva.errors import ModelError
from eva.prompts.conversations import as_messages
from eva.types import Context, Message


class UnusablePromptError(ValueError):
    """This prompt cannot be used, for the reason in the message: a failure of the data."""


@dataclass(frozen=True, slots=True)
class Prompting:
    """How prompts are presented to the model. `chat_template` is Jinja text, not a path.

    `system_prompt` is used for prompts without a system message.
    """

    template: Literal["chat", "none"] = "chat"
    chat_template: str | None = None
    system_prompt: str | None = None


def read_prompting(model: Model) -> Prompting:
    """Returns the config's prompting with its template file read. Raises ModelError if the file cannot be read."""
    template = None
    if model.chat_template is not None:
        try:
            template = Path(model.chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(
                f"model.chat_template {model.chat_template!r} cannot be read ({error})",
                expected="a Jinja file in UTF-8",
                next_move="Correct the path, or unset it to use the tokenizer's own template",
            ) from error
    return Prompting(model.template, template, model.system_prompt)


def load_tokenizer(folder: str, prompting: Prompting) -> Any:
    """Loads the tokenizer of a model folder, with the config's template if there is one. Raises ModelError."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # tokenizers raises bare exceptions
        raise ModelError(
            f"the tokenizer in {folder} cannot be loaded ({_first_line(error)})",
            expected="tokenizer.json or another Hugging Face tokenizer beside the weights",
            next_move="Save the tokenizer into the model's folder",
        ) from error
    if prompting.chat_template is not None:
        tokenizer.chat_template = prompting.chat_template
    if prompting.template == "chat" and not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer in {folder} has no chat template",
            expected="a chat template, as model.template is chat",
            next_move="Set model.chat_template to a Jinja file, or model.template: none for a base model",
        )
    return tokenizer


class PromptEncoder:
    """Encodes prompts for one tokenizer. The constructor raises ModelError for a template that cannot work."""

    def __init__(self, folder: str, prompting: Prompting) -> None:
        self.tokenizer = load_tokenizer(folder, prompting)
        self._prompting = prompting
        try:
            self.encode("?")
        except UnusablePromptError as error:
            raise ModelError(
                f"the chat template of {folder} refuses an ordinary prompt: {error}",
                expected="a template that knows the role user"
                + (" and the role system" if prompting.system_prompt is not None else ""),
                next_move="Unset model.system_prompt or set another model.chat_template",
            ) from error

    def encode(self, text: str, context: Context = ()) -> list[int]:
        """Returns the token ids of the text after these messages. Raises UnusablePromptError with the reason."""
        try:
            ids = self._ids(text, context)
        except (TemplateError, ValueError, TypeError) as error:
            raise UnusablePromptError(f"the prompt cannot be encoded: {_first_line(error)}") from error
        if not ids:
            raise UnusablePromptError("the prompt has no tokens")
        return ids

    def render(self, text: str, context: Context = ()) -> str:
        """Renders the conversation with the chat template. Raises what the template raises."""
        messages = as_messages(text, context, self._prompting.system_prompt)
        return str(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))

    def _ids(self, text: str, context: Context) -> list[int]:
        if self._prompting.template == "none":
            if context:
                raise ValueError("model.template is `none`, which renders no messages before the prompt")
            return list(self.tokenizer.encode(text))
        # The template writes BOS itself if the model needs one; the tokenizer must not add another.
        return list(self.tokenizer.encode(self.render(text, context), add_special_tokens=False))


def require_conversations(folder: Path, model: Model, contexts: Iterable[Context]) -> None:
    """Raises ModelError unless the chat template renders every message, in each order of roles that occurs."""
    if model.template == "none":
        raise ModelError(
            "some prompts have messages before them, but model.template is `none`",
            expected="a chat template, which renders messages",
            next_move="Set model.template: chat (and model.chat_template), or keep one user turn per row",
        )
    require_rendering(folder, read_prompting(model), contexts, "Set model.chat_template to one that does")


def require_rendering(folder: Path, prompting: Prompting, contexts: Iterable[Context], remedy: str) -> None:
    """Raises ModelError unless the template of this folder renders every message, in each order of roles."""
    encoder = PromptEncoder(str(folder), prompting)
    for roles in sorted({tuple(message.role for message in context) for context in contexts}):
        marked = tuple(Message(role, f"qz{place}zq") for place, role in enumerate(roles))
        shown = ", ".join((*roles, "user"))
        try:
            rendered = encoder.render("?", marked)
        except (TemplateError, ValueError, TypeError) as error:
            raise _unknown_roles(folder, f"refuses the messages {shown}: {_first_line(error)}", remedy) from error
        left_out = [message.role for message in marked if message.content not in rendered]
        if left_out:
            raise _unknown_roles(folder, f"leaves the {left_out[0]} message out of the messages {shown}", remedy)


def _unknown_roles(folder: Path, what: str, remedy: str) -> ModelError:
    return ModelError(
        f"the chat template of {folder} {what}",
        expected="a template that supports these roles in this order",
        next_move=f"{remedy}, or remove these messages from the prompts",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
