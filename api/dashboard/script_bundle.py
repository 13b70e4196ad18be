"""Joins the dashboard's ES modules into scripts: one for a page that is a single file, or a few that load one another.

Each module becomes a function that returns its exports; modules come after those that they import. Only the forms of
import and export that `static` uses are supported; tests run the results in a browser.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

_SPECIFIER = r"""["'](?P<from>\./[^"']+|\.\./[^"']+)["'];?"""
_START = r"(?:^|(?<=[;}]))"
_IMPORT = re.compile(rf"{_START}import\s*(?P<what>\{{[^}}]*\}}|\w+)\s*from\s*{_SPECIFIER}", re.MULTILINE)
_PASSED_ON = re.compile(rf"{_START}export\s*\{{(?P<names>[^}}]*)\}}\s*from\s*{_SPECIFIER}", re.MULTILINE)
_LISTED = re.compile(rf"{_START}export\s*\{{(?P<names>[^}}]*)\}};?", re.MULTILINE)
_DEFAULT = re.compile(rf"{_START}export default (?P<kind>class|function)\s*(?P<name>\w+)?", re.MULTILINE)
_LATER = re.compile(r"""(?<==> )import\(\s*["'](?P<from>\.{1,2}/[^"']+)["']\s*,?\s*\)""")
_DECLARED = re.compile(r"^export (?P<kind>const|let|class|function\*?|async function) (?P<name>\w+)", re.MULTILINE)


_COMMENTS = re.compile(r"^[ \t]*(?://[^\n]*|/\*\*(?:[^*]|\*(?!/))*\*/[ \t]*)\n", re.MULTILINE)
"""Comments that have lines of their own."""

SHARED = "shared.js"
"""The script of what several later parts need."""
_LOADER = f"""const modules = {{}};
globalThis.evaModules = modules;
const partsFrom = new URL(".", document.currentScript.src);
const loadScript = (part) => new Promise((loaded, failed) => {{
  const script = document.createElement("script");
  script.src = new URL(part, partsFrom).href;
  script.async = false;
  script.onload = loaded;
  script.onerror = () => {{
    script.remove();
    failed(new Error(`${{script.src}} could not be loaded`));
  }};
  document.head.append(script);
}});
let shared = null;
const loadPart = (part, name) => {{
  if (modules[name]) return Promise.resolve(modules[name]);
  shared ??= loadScript("{SHARED}").catch((error) => {{
    shared = null;
    throw error;
  }});
  return Promise.all([shared, loadScript(part)]).then(() => modules[name]);
}};
"""


def bundle(folder: Path, entry: str, instead: Mapping[str, str]) -> str:
    """Bundles the module `entry` of `folder` and everything that it imports into one script.

    `instead` maps modules to others that replace them.
    """
    modules = _Modules(folder, instead)
    return "const modules = {};\n" + modules.joined(modules.reach(entry))


def split(folder: Path, entry: str) -> dict[str, str]:
    """Joins `entry` and everything that it imports into scripts without comments, by their names.

    `entry` has a script with what it imports at once. Each module that it imports later, by `import()`, has a script
    with what only that one needs; what several of them need is in a script that they share.
    """
    modules = _Modules(folder, {})
    first = modules.reach(entry)
    later = sorted({_place(name, found["from"], {}) for name in first for found in _LATER.finditer(modules.text(name))})
    needs = {name: [one for one in modules.reach(name) if one not in first] for name in later}
    uses = Counter(module for needed in needs.values() for module in needed)
    shared = dict.fromkeys(module for needed in needs.values() for module in needed if uses[module] > 1)
    own = {_script_name(name): [module for module in needs[name] if uses[module] == 1] for name in later}
    scripts = {_script_name(entry): _LOADER + modules.joined(first)}
    for script, needed in {SHARED: list(shared), **own}.items():
        scripts[script] = f"const modules = globalThis.evaModules;\n{modules.joined(needed)}"
    return {name: "{\n" + _COMMENTS.sub("", script) + "}\n" for name, script in scripts.items()}


class _Modules:
    """The modules of a folder, each read and searched for its imports once."""

    def __init__(self, folder: Path, instead: Mapping[str, str]) -> None:
        self._folder, self._instead = folder, instead
        self._texts: dict[str, str] = {}
        self._imports: dict[str, list[str]] = {}

    def text(self, name: str) -> str:
        if name not in self._texts:
            self._texts[name] = (self._folder / name).read_text("utf-8")
        return self._texts[name]

    def reach(self, entry: str) -> list[str]:
        """`entry` and all modules that it imports at once, each after those that it imports."""
        order: dict[str, None] = {}
        begun: set[str] = set()

        def visit(name: str) -> None:
            if name not in begun:
                begun.add(name)
                for other in self._imported(name):
                    visit(other)
                order[name] = None

        visit(entry)
        return list(order)

    def joined(self, order: list[str]) -> str:
        inner = {name: _inner(name, self.text(name), self._instead) for name in order}
        return "".join(f"modules[{name!r}] = (() => {{\n{text}\n}})();\n" for name, text in inner.items())

    def _imported(self, name: str) -> list[str]:
        if name not in self._imports:
            text = self.text(name)
            statements = (*_IMPORT.finditer(text), *_PASSED_ON.finditer(text))
            self._imports[name] = [_place(name, statement["from"], self._instead) for statement in statements]
        return self._imports[name]


def _script_name(module: str) -> str:
    return posixpath.splitext(module)[0].replace("/", "-") + ".js"


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

    def later(match: re.Match[str]) -> str:
        place = _place(name, match["from"], instead)
        return f"loadPart({_script_name(place)!r}, {place!r})"

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
        (_LATER, later),
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
