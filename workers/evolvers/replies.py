"""Reads what language models reply: an answer without reasoning and control tokens, and the one prompt within it.

What is plainly meant is read. What is not stays as it is, so that the checks of a child refuse it.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

from eva.seeds import storable_text

_QUOTES = ('""', "''", "``", "“”", "«»", "„“", "「」", "『』")

_THOUGHT = r"(?:think|thinking|thought|reasoning|seed:think)"
_REASONING = re.compile(rf"\s*(?:<({_THOUGHT})>.*?</\1>|\[THINK\].*?\[/THINK\])\s*", re.DOTALL | re.IGNORECASE)
_OPEN_REASONING = re.compile(rf"\s*(?:<{_THOUGHT}>|\[THINK\])", re.IGNORECASE)
_DANGLING = re.compile(
    rf"(?:^[ \t]*(?:</{_THOUGHT}>|\[/THINK\])|(?:</{_THOUGHT}>|\[/THINK\])[ \t]*$)", re.MULTILINE | re.IGNORECASE
)
"""The end of reasoning whose beginning the chat template wrote: at the beginning or the end of a line."""

_ROLE = r"(?:assistant|model|user|system)?"
_BEGINNINGS = re.compile(
    rf"(?:\s*(?:<\|(?:im_start|start_header_id|start)\|>{_ROLE}\s*(?:<\|end_header_id\|>|<\|message\|>)?"
    rf"|<start_of_turn>{_ROLE}|<\|(?:assistant|begin_of_text|startoftext|message)\|>|\[/?INST\]|<s>|<bos>"
    r"|<\|(?:im_end|eot_id|end)\|>|<end_of_turn>|<｜Assistant｜>|<｜begin▁of▁sentence｜>))+\s*"
)
_END = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|end|return|eos|user|im_start|start_header_id)\|>"
    r"|<(?:end|start)_of_turn>|<eos>|<｜end▁of▁sentence｜>|<｜User｜>"
)
"""What ends the model's turn: what follows is no longer its answer."""
_FINAL_CHANNEL = "<|channel|>final<|message|>"

_PLAIN_FENCES = frozenset(("", "text", "txt", "plain", "plaintext", "markdown", "md", "prompt", "json"))
_FENCE = re.compile(r"(```+|~~~+)[ \t]*([\w+-]*)[ \t]*\n(.*?)\n?[ \t]*\1[ \t]*(?=\n|$)", re.DOTALL)
_FENCE_LINE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_ONE_LINE_FENCE = re.compile(r"```([^`\n]+)```")
_TAGS = re.compile(r"<(\w*prompt\w*|instruction|question)>(.*)</\1>", re.DOTALL | re.IGNORECASE)

_NEW = (
    r"(?:new|re-?written|re-?phrased|revised|created|evolved|final|improved|updated|modified|enhanced|refined|expanded"
    r"|transformed|mutated|complexified|harder|deeper|broader|complex|challenging|concrete|specific|difficult|detailed"
    r"|abstract|general|general?ized|combined|slightly|more|much)"
)
_MARKUP = r"[\s*_#>\"“`-]*"
_OTHER_TITLES = (
    r"(?:neuer|überarbeiteter|umgeschriebener) prompt|(?:nouveau|nouvelle) (?:prompt|invite|question)"
    r"|nuevo prompt|novo prompt|nuovo prompt|новый (?:промпт|запрос)"
    r"|(?:新的?|改写后的?|重写后的?)(?:提示词?|问题|指令)|新しいプロンプト|새로운 프롬프트"
)
_TITLE = re.compile(
    rf"{_MARKUP}(?:the )?(?:(?:{_NEW} ){{0,4}}prompt|(?:{_NEW} ){{1,4}}(?:instruction|question|version|task)"
    rf"|{_OTHER_TITLES})(?:[ \t]*[#*_]+)*[ \t]*(?:[:：][\s*_#]*|\n\s*)(?=\S)",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"(?:(?:sure|certainly|of course|absolutely|okay|ok|alright|great|got it)\b[^\n:：]{0,30}?[!,.:]?\s*)?"
    r"(?:here(?:['’]s| is| are)|below is|this is|i(?:['’]ve| have) (?:created|written|made)) "
    rf"(?:(?:a|an|the|your|my|one)(?: possible)? )?(?:(?:{_NEW},? (?:and )?){{1,4}}"
    r"(?:(?:given )?prompt|instruction|question|version|task|rewrite)|prompt)"
    r"(?: (?:of|for|that|which|based on|with)(?! my\b)[^\n:：]{1,80})?[:：][\s*_]*(?=\S)"
    r"|(?:sure|certainly|of course)[!,.]?\s*here you go[:!.]?\s*\n\s*(?=\S)",
    re.IGNORECASE,
)
_MARKER = re.compile(r"#\s*(?:the )?(?:new|rewritten|created) prompt\s*#[ \t]*[:：]?", re.IGNORECASE)
"""How EvolInstruct's templates announce the new prompt."""

_KEYS = ("rewritten_prompt", "new_prompt", "created_prompt", "evolved_prompt", "prompt", "instruction", "question")
_UNWRAPPINGS = 5


def answer_of(text: str) -> str:
    """Returns a reply without the model's reasoning, the control tokens of its template, and what cannot be stored."""
    text = storable_text(text)
    if _FINAL_CHANNEL in text:
        text = text.rpartition(_FINAL_CHANNEL)[2]
    text = _without_reasoning(_BEGINNINGS.sub("", text, count=1) if _BEGINNINGS.match(text) else text)
    if (beginning := _BEGINNINGS.match(text)) is not None:
        text = text[beginning.end() :]
    if (end := _END.search(text)) is not None:
        text = text[: end.start()]
    text = text.strip()
    return text.removesuffix("</s>").rstrip() if "<s>" not in text else text


def prompt_of(text: str) -> str:
    """Returns the prompt that an answer consists of: without quotes, lead-in, code fence or JSON around it."""
    for _ in range(_UNWRAPPINGS):
        before = text
        text = _after_marker(strip_quotes(text))
        text = _from_fence(_from_json(_without_lead_in(text)))
        if (tagged := _TAGS.fullmatch(text)) is not None:
            text = tagged[2].strip()
        if text == before:
            break
    return text


def strip_quotes(text: str) -> str:
    """Removes surrounding white space and one pair of quotes that encloses the whole text."""
    text = text.strip()
    for opening, closing in _QUOTES:
        inner = text[1:-1]
        if len(text) > 2 and text[0] == opening and text[-1] == closing and closing not in inner:
            return inner.strip()
    return text


def _without_reasoning(text: str) -> str:
    if (block := _REASONING.match(text)) is not None:
        return text[block.end() :]
    if _OPEN_REASONING.match(text):
        return ""
    ends = list(_DANGLING.finditer(text))
    return text[ends[-1].end() :].lstrip() if ends else text


def _after_marker(text: str) -> str:
    """Returns what stands behind the template's last announcement of the new prompt."""
    markers = list(_MARKER.finditer(text))
    return text[markers[-1].end() :].strip() or text if markers else text


def _without_lead_in(text: str) -> str:
    """Removes a title or a sentence that announces the prompt; of one fenced block behind it, keeps the block."""
    found = _TITLE.match(text) or _LEAD_IN.match(text)
    if found is None:
        return text
    rest = text[found.end() :].strip()
    if (fence := _FENCE.match(rest)) is not None and _is_only_fence(fence, rest):
        return fence[3].strip()
    return rest or text


def _from_fence(text: str) -> str:
    if (line := _ONE_LINE_FENCE.fullmatch(text)) is not None:
        return line[1].strip()
    fence = _FENCE.fullmatch(text)
    return fence[3].strip() if fence is not None and _is_only_fence(fence, text) else text


def _is_only_fence(fence: re.Match[str], text: str) -> bool:
    """Whether a fence holds text rather than code, and is the only one."""
    return bool(fence[3].strip()) and fence[2].lower() in _PLAIN_FENCES and len(_FENCE_LINE.findall(text)) == 2


def _from_json(text: str) -> str:
    if not (text.startswith("{") and text.endswith("}")):
        return text
    try:
        value: object = json.loads(text, strict=False)
    except ValueError:
        return text
    return _prompt_within(value) or text


def _prompt_within(value: object) -> str | None:
    """Returns the text of the key that names the prompt, or of the only key."""
    if isinstance(value, str):
        return storable_text(value).strip()
    if not isinstance(value, dict):
        return None
    fields = cast("dict[str, Any]", value)
    named = {re.sub(r"\W+", "_", key).strip("_").casefold(): field for key, field in fields.items()}
    for key in _KEYS:
        if isinstance(named.get(key), str):
            return _prompt_within(named[key])
    return _prompt_within(next(iter(named.values()))) if len(named) == 1 else None
