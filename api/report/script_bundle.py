"""Bundles the dashboard's ES modules into one script, for a page that is a single file.

Each module becomes a function that returns its exports; modules come after those that they import. Only the forms of
import and export that `static` uses are supported; a test runs the result in a browser.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

_SPECIFIER = r"""["'](?P<from>\./[^"']+|\.\./[^"']+)["'];?"""
_START = r"(?:^|(?<=[;}]))"
_IMPORT = re.compile(rf"{_START}import\s*(?P<what>\{{[^}}]*\}}|\w+)\s*from\s*{_SPECIFIER}", re.MULTILINE)
_PASSED_ON = re.compile(rf"{_START}export\s*\{{(?P<names>[^}}]*)\}}\s*from\s*{_SPECIFIER}", re.MULTILINE)
_LISTED = re.compile(rf"{_START}export\s*\{{(?P<names>[^}}]*)\}};?", re.MULTILINE)
_DEFAULT = re.compile(rf"{_START}export default (?P<kind>class|function)\s*(?P<name>\w+)?", re.MULTILINE)
_DECLARED = re.compile(r"^export (?P<kind>const|let|class|function\*?|async function) (?P<name>\w+)", re.MULTILINE)


def bundle(folder: Path, entry: str, instead: Mapping[str, str]) -> str:
    """Bundles the module `entry` of `folder` and everything that it imports into one script.

    `instead` maps modules to others that replace them.
    """
    order: list[str] = []
    texts: dict[str, str] = {}

    def visit(name: str) -> None:
        if name in texts:
            return
        texts[name] = text = (folder / name).read_text("utf-8")
        for statement in (*_IMPORT.finditer(text), *_PASSED_ON.finditer(text)):
            visit(_place(name, statement["from"], instead))
        order.append(name)

    visit(entry)
    modules = [f"modules[{name!r}] = (() => {{\n{_inner(name, texts[name], instead)}\n}})();" for name in order]
    return "const modules = {};\n" + "\n".join(modules) + "\n"


def _place(name: str, source: str, instead: Mapping[str, str]) -> str:
    place = posixpath.normpath(posixpath.join(posixpath.dirname(name), source))
    return place if name == instead.get(place) else instead.get(place, place)


def _inner(name: str, text: str, instead: Mapping[str, str]) -> str:
    """A module's text with its imports taken from `modules`, and its exports returned."""
    exports: dict[str, str] = {}

    def imported(match: re.Match[str]) -> str:
        what = match["what"]
        names = what.replace(" as ", ": ") if what.startswith("{") else f"{{default: {what}}}"
        return f"const {names} = modules[{_place(name, match['from'], instead)!r}];"

    def passed_on(match: re.Match[str]) -> str:
        place = _place(name, match["from"], instead)
        exports.update({outer: f"modules[{place!r}].{inner}" for inner, outer in _pairs(match["names"])})
        return ";"

    def listed(match: re.Match[str]) -> str:
        exports.update({outer: inner for inner, outer in _pairs(match["names"])})
        return ";"

    def default(match: re.Match[str]) -> str:
        exports["default"] = match["name"] or "whole"
        return f"{match['kind']} {match['name'] or 'whole'}"

    def declared(match: re.Match[str]) -> str:
        exports[match["name"]] = match["name"]
        return f"{match['kind']} {match['name']}"

    for form, change in (
        (_IMPORT, imported),
        (_PASSED_ON, passed_on),
        (_LISTED, listed),
        (_DEFAULT, default),
        (_DECLARED, declared),
    ):
        text = form.sub(change, text)
    return f"{text}\nreturn {{{', '.join(f'{outer}: {inner}' for outer, inner in exports.items())}}};"


def _pairs(names: str) -> list[tuple[str, str]]:
    """`a as b, c` as (inner, outer) names."""
    words = [name.split() for name in names.split(",") if name.strip()]
    return [(parts[0], parts[-1]) for parts in words]
