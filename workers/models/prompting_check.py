"""Checks that templates and tokenizers can work, before anything starts: loads tokenizers, no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError

from eva.config import Model
from eva.errors import ModelError
from eva.prompts.conversations import as_messages
from workers.models.chat_template import Prompting, load_tokenizer, read_prompting

_FIRST, _SECOND = "Qz7 what is a tide?", "Kw4 name three rivers."


def require_prompting(folder: Path, model: Model) -> None:
    """Checks the policy's template and tokenizer: every prompt is rendered, and a response can end.

    Raises ModelError for a template that refuses prompts or the system message, renders all prompts alike, or leaves
    the user's text or the system message out, and for a tokenizer without a token that ends a response.
    """
    prompting = read_prompting(model)
    tokenizer = load_tokenizer(str(folder), prompting)
    if prompting.template == "chat":
        _require_text(tokenizer, prompting, folder, "model.chat_template")
    if not _ends(folder, tokenizer):
        raise ModelError(
            f"the tokenizer of {folder} has no EOS token, so no response could be trained to end",
            expected="eos_token in tokenizer_config.json, or eos_token_id in generation_config.json",
            next_move="Add the token that ends a response, before the run starts: a run trains from its own copy",
        )


def require_reward_template(folder: Path, key: str, system_prompt: str | None) -> None:
    """Checks the chat template of a reward model. Raises ModelError."""
    prompting = Prompting("chat", None, system_prompt)
    try:
        tokenizer = load_tokenizer(str(folder), prompting)
    except ModelError as error:
        raise ModelError(
            f"{key}: {error.given}",
            expected=f"a reward model whose template can render a conversation, as {key}.template is chat",
            next_move=f"Set {key}.template: pair (models of the BERT family) or none, or choose another reward model",
        ) from error
    _require_text(tokenizer, prompting, folder, f"{key}.template")


def _require_text(tokenizer: Any, prompting: Prompting, folder: Path, key: str) -> None:
    try:
        first, second = (_rendered(tokenizer, text, prompting.system_prompt) for text in (_FIRST, _SECOND))
    except (TemplateError, ValueError, TypeError) as error:
        system = prompting.system_prompt is not None
        raise ModelError(
            f"the chat template of {folder} refuses an ordinary prompt: {str(error).strip() or type(error).__name__}",
            expected="a template that renders a user's message" + (" after a system message" if system else ""),
            next_move=("Unset the system_prompt, or set " if system else "Set ") + f"{key} to another template",
        ) from error
    if _FIRST not in first or _SECOND not in second:
        alike = ": it renders every prompt alike" if first == second else ""
        raise ModelError(
            f"the chat template of {folder} leaves out the user's text{alike}",
            expected="a template for messages whose content is a text (some expect a list of parts)",
            next_move=f"Set {key} to one that writes message['content']",
        )
    system = prompting.system_prompt
    if system is not None and system.strip() not in first:
        raise ModelError(
            f"the chat template of {folder} leaves out the system message",
            expected="a template with the role system, as a system_prompt is set",
            next_move=f"Unset the system_prompt, or set {key} to one that renders it",
        )


def _rendered(tokenizer: Any, text: str, system_prompt: str | None) -> str:
    messages = as_messages(text, (), system_prompt)
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def _ends(folder: Path, tokenizer: Any) -> bool:
    if tokenizer.eos_token_id is not None:
        return True
    file = folder / "generation_config.json"
    return file.is_file() and bool(json.loads(file.read_text(encoding="utf-8")).get("eos_token_id"))
