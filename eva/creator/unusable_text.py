"""Finds texts that are no prompt: empty ones, copied instructions, refusals, control tokens, JSON objects."""

from __future__ import annotations

import re

_SCAFFOLDING = re.compile(
    r"#\s*(?:given|rewritten|created|new|second|the given|the rewritten)\s+prompt\s*#"
    r"|\b(?:given|rewritten|created) prompt\b",
    re.IGNORECASE,
)
"""Phrases from the instructions (WizardLM's and distilabel's templates) that a careless reply copies."""

_REFUSALS = (
    r"i['’]?m (?:sorry|afraid|unable)|i am (?:sorry|afraid|unable)|sorry\b|my apologies|i apologi[sz]e|as an ai\b",
    r"i (?:can(?:['’]t|not)|won['’]t|will not) (?:help|assist|comply|fulfil|provide|create|write|generate|rewrite)",
    r"i (?:must|have to) (?:decline|refuse)|unfortunately,? i",
    r"(?:es )?tut mir (?:sehr )?leid|leider (?:kann|darf) ich|ich kann (?:\w+ ){1,4}nicht (?:helfen|erfüllen)",
    r"(?:je suis )?(?:vraiment |sincèrement )?désolée?\b|je m['’]excuse, mais|je ne peux pas (?:vous )?aider",
    r"lo siento|lamentablemente,? no puedo|no puedo (?:ayudar|cumplir|escribir)",
    r"mi dispiace|purtroppo,? non posso|non posso (?:aiutar|scriver)",
    r"(?:sinto|lamento) muito|desculpe?,? (?:mas )?(?:eu )?não posso|não posso (?:ajudar|cumprir|escrever)",
    r"het spijt me|helaas kan ik",
    r"przykro mi|przepraszam, ale",
    r"beklager, (?:men )?jeg|jag är ledsen, men",
    r"üzgünüm",
    r"maaf, (?:tetapi |tapi )?saya",
    r"xin lỗi, (?:nhưng )?tôi",
    r"мне (?:очень )?жаль|(?:простите|извините), (?:но )?я|к сожалению,? я|на жаль,? я",
    r"(?:عذرا|عذرًا|عذراً|آسف)\b",
    r"मुझे (?:खेद|माफ़)|क्षमा करें",
    r"(?:非常|很|真的)?(?:抱歉|对不起|對不起)[,，]?\s*(?:但)?(?:我|作为|作為)",
    r"我(?:无法|無法|不能)(?:提供|协助|協助|帮助|幫助|满足|完成)|作为(?:一个)?(?:人工智能|AI)",
    r"申し訳(?:ありません|ございません)|お手伝いできません",
    r"(?:정말 )?죄송(?:합니다|하지만)",
)
"""How a refusal begins, by language. A word that also opens ordinary requests counts only with what a refusal adds."""
_APOLOGY = re.compile(rf"^\W*(?:{'|'.join(_REFUSALS)})", re.IGNORECASE)

_CONTROL_TOKEN = re.compile(
    r"<\|[\w▁]+\|>|<｜[^｜>\n]+｜>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|</?think(?:ing)?>", re.IGNORECASE
)
_JSON_OBJECT = re.compile(r"\{\s*\"[^\"]+\"\s*:.*\}", re.DOTALL)

_SMALL_WORDS = """
a an and are as at be but by for from has have he i if in is it its me my no not of on or our she so that the their them
they this to us was we were what which who will with you your
"""
_STOP_WORDS = frozenset(_SMALL_WORDS.split())


def unusable(text: str, max_chars: int) -> str | None:
    """Returns why a text is no prompt, whatever the other prompts are, or None."""
    words = re.findall(r"\w+", text.casefold())
    if not text.strip():
        return "empty"
    if not words or all(word in _STOP_WORDS for word in words):
        return "no_content"
    if len(text) > max_chars:
        return "too_long"
    if _SCAFFOLDING.search(text):
        return "scaffolding"
    if _APOLOGY.search(text):
        return "apology"
    if _CONTROL_TOKEN.search(text):
        return "control_token"
    return "json" if _JSON_OBJECT.fullmatch(text.strip()) else None
