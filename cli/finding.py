"""What a check of `eva doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `remedy` says what to do if the verdict is not ok."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""
