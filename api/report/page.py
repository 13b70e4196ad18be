"""The page itself: style, facts and script in one file, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from api.dashboard.endpoints import STATIC
from api.report.bundling import bundled

_STYLES = ("base", "parts", "charts", "views", "report")
_INSTEAD = {"router.js": "report/router.js"}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>{title} – eva</title><style>{style}</style></head>
<body><div id="app"><p class="waiting">Loading the report</p></div>
<noscript>The report of eva needs JavaScript: it holds its own, and asks for nothing else.</noscript>
<script type="application/json" id="facts">{facts}</script>
<script>{script}</script></body></html>
"""


def page(facts: Mapping[str, Any]) -> str:
    """The report over these facts (api.report.facts)."""
    style, script = _style(), _script()
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src blob: data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return _PAGE.format(
        policy=policy, title=html.escape(str(facts["run"]["name"])), style=style, script=script, facts=embedded(facts)
    )


def embedded(value: object) -> str:
    """JSON that stays data inside a page, whatever its texts say: no tag, comment or section begins in it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@lru_cache(1)
def _style() -> str:
    return "\n".join((STATIC / "style" / f"{name}.css").read_text("utf-8") for name in _STYLES)


@lru_cache(1)
def _script() -> str:
    script = '"use strict";\n' + bundled(STATIC, "report/report.js", _INSTEAD)
    # the parser of pages looks for these alone; the dashboard's scripts have neither
    assert "</script" not in script and "<!--" not in script
    return script


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
