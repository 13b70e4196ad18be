"""The HTML page of a report: style, data and script in one file, and a security policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from api.dashboard.endpoints import STATIC
from api.dashboard.script_bundle import bundle

_STYLES = ("base", "parts", "charts", "views", "report")
_INSTEAD = {"router.js": "report/router.js"}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>{title} – eva</title><style>{style}</style></head>
<body><div id="app"><p class="waiting">Loading the report</p></div>
<noscript>This report needs JavaScript. Its script is part of the page; it loads nothing else.</noscript>
<script type="application/json" id="facts">{facts}</script>
<script>{script}</script></body></html>
"""


def page(title: str, facts: Mapping[str, Any], script: str = "report/report.js") -> str:
    """The page that shows these facts: of a run (api.report.facts), or of a study with its own script."""
    style, script = _style(), _script(script)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src blob: data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return _PAGE.format(policy=policy, title=html.escape(title), style=style, script=script, facts=embedded(facts))


def embedded(value: object) -> str:
    """JSON that stays data inside a page, whatever texts it has: it contains no start of a tag, comment or section."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@lru_cache(1)
def _style() -> str:
    return "\n".join((STATIC / "style" / f"{name}.css").read_text("utf-8") for name in _STYLES)


@lru_cache(2)
def _script(entry: str) -> str:
    script = '"use strict";\n' + bundle(STATIC, entry, _INSTEAD)
    # only these would end the script early; the dashboard's scripts contain neither
    assert "</script" not in script and "<!--" not in script
    return script


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
