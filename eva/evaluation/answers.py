"""The answer in a response, in a form in which equal answers are equal texts.

A new normaliser is a function (response -> answer, None if there is none) and a line in NORMALISERS. Your own needs no
line: the config names it as `module:function`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from eva.runtime.user_functions import load_function

EXPECTED = "`module:function`, a function (response: str) -> the answer in it as a text, or None if there is none"
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?|-?\.\d+")
_BOXED = r"\boxed{"

Normaliser = Callable[[str], str | None]


def last_number(response: str) -> str | None:
    """The last number, without thousands separators and trailing zeros: 1,200.50 and 1200.5 are one answer."""
    found = _NUMBER.findall(response)
    if not found:
        return None
    number = found[-1].replace(",", "")
    if "." in number and "/" not in number:
        number = number.rstrip("0").rstrip(".")
    return {"-0": "0", "": "0", "-": "0"}.get(number, number)


def boxed(response: str) -> str | None:
    r"""What the last `\boxed{…}` holds, without blanks; braces inside are counted."""
    start = response.rfind(_BOXED)
    if start < 0:
        return None
    depth, begin = 1, start + len(_BOXED)
    for place in range(begin, len(response)):
        depth += {"{": 1, "}": -1}.get(response[place], 0)
        if depth == 0:
            return "".join(response[begin:place].split()) or None
    return None


def last_line(response: str) -> str | None:
    """The last line that is not blank, in lower case, with single blanks and without a full stop at its end."""
    lines = [" ".join(line.split()) for line in response.splitlines() if line.strip()]
    return lines[-1].casefold().rstrip(".") or None if lines else None


NORMALISERS: dict[str, Normaliser] = {"last_number": last_number, "boxed": boxed, "last_line": last_line}


def normaliser_named(name: str) -> Normaliser:
    """Returns the normaliser of this name, or the user's `module:function`. Raises ConfigError."""
    if name in NORMALISERS:
        return NORMALISERS[name]
    return load_function(name, what="normaliser", expected=EXPECTED, arguments=["response"])
