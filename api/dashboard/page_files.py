"""The dashboard's page, and its scripts and styles joined into a few files, whose addresses change with their content.

So a browser keeps them for good, and a first visit over a slow link takes few requests. They are made of the files of
`static` when the page is asked for, and again when one of those has changed: a developer edits and reloads.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from api.dashboard.script_bundle import split

BUILT = "built"
"""The folder of the joined files in their addresses: `/static/built/DIGEST/NAME`."""
_ENTRY = "app.js"
_STYLE = re.compile(r' *<link rel="stylesheet" href="/static/(?P<name>[\w/]+\.css)">\n')
_SCRIPT = re.compile(r'<script type="module" src="/static/app\.js"></script>')
_THEME = re.compile(r"/static/(?P<name>theme\.js)")
_KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A joined file, as it is and compressed."""

    kind: str
    plain: bytes
    zipped: bytes


@dataclass(frozen=True, slots=True)
class PageFiles:
    """The page, and the files that it loads, which lie below `/static/built/DIGEST/`."""

    page: str
    digest: str
    files: Mapping[str, PageFile]

    @property
    def base(self) -> str:
        """The address of the folder of the files."""
        return f"/static/{BUILT}/{self.digest}"


class PageBuilder:
    """Joins the files of a folder when they are first asked for, and again after one of them has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._state: object = None
        self._built: PageFiles | None = None

    def newest(self) -> PageFiles:
        """The page and its files as the folder is now."""
        with self._lock:
            state = _state(self._folder)
            if self._built is None or state != self._state:
                self._built, self._state = build(self._folder), state
            return self._built


def build(folder: Path) -> PageFiles:
    """Joins the page's scripts and styles. A script that the page asks for only later has a file of its own."""
    source = (folder / "index.html").read_text("utf-8")
    styles = [(folder / name).read_text("utf-8") for name in _STYLE.findall(source)]
    texts = {**split(folder, _ENTRY), "style.css": "\n".join(styles)}
    texts |= {name: (folder / name).read_text("utf-8") for name in _THEME.findall(source)}
    digest = hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in sorted(texts.items())).encode()).hexdigest()
    files = PageFiles(source, digest[:16], {name: _page_file(name, text) for name, text in texts.items()})
    page = _STYLE.sub("", source, count=len(styles) - 1)
    page = _STYLE.sub(f'    <link rel="stylesheet" href="{files.base}/style.css">\n', page)
    page = _SCRIPT.sub(f'<script defer src="{files.base}/{_ENTRY}"></script>', page)
    return replace(files, page=_THEME.sub(rf"{files.base}/\g<name>", page))


def _page_file(name: str, text: str) -> PageFile:
    plain = text.encode()
    return PageFile(_KINDS[Path(name).suffix], plain, gzip.compress(plain, 9, mtime=0))


def _state(folder: Path) -> list[tuple[str, int, int]]:
    """Names, times and sizes of all files of a folder."""
    found = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
    return sorted((str(path), status.st_mtime_ns, status.st_size) for path, status in found)
