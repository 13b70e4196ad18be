"""Compares the checks of a run of 100,000 prompts with plain reading and hashing of the same file.

    python -m benchmarks.preflight [--prompts N] [--json]

The checks are those of `eva run --dry-run`: every row is read and its prompt found, equal prompts are merged, and, in
the second comparison, each is searched for overlaps with two protected files: split into words, with a hash of every 13
in a row. The plain way decodes each line and takes the SHA-256 of its text. Both are timed in seconds of CPU, so that
the load of the machine counts little.
"""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import Timings, parser, seconds, show
from eva.config import RunConfig
from eva.config.files import load_config
from orchestrator.launch.preflight import check_run

PROMPTS, PROTECTED, WORDS, ROUNDS = 100_000, 2_000, 80, 3
TARGET, PROTECTED_TARGET = 0.1, 0.025
VOCABULARY = [f"word{number}" for number in range(20_000)]


def write_texts(path: Path, count: int, seed: int) -> None:
    """Writes a file of distinct prompts of WORDS words."""
    draws = random.Random(seed)
    with path.open("w") as file:
        for _ in range(count):
            file.write(json.dumps({"prompt": " ".join(draws.choices(VOCABULARY, k=WORDS))}) + "\n")


def read_plainly(path: Path) -> int:
    """Decodes each line and hashes its text. Returns how many texts are distinct."""
    with path.open() as lines:
        return len({hashlib.sha256(json.loads(line)["prompt"].encode()).digest() for line in lines})


def config_of(folder: Path, protected: bool) -> RunConfig:
    """The playground's run on the prompts of the folder."""
    files = [str(folder / f"protected-{number}.jsonl") for number in range(2)] if protected else []
    return load_config(
        "playground",
        [
            "prompts.playground=null",
            f"prompts.path={folder / 'prompts.jsonl'}",
            f"novelty.protected={json.dumps(files)}",
        ],
    )


def compare(folder: Path, protected: bool) -> Timings:
    """Times both ways in turns. Raises SystemExit if they do not read the same prompts."""
    config, file = config_of(folder, protected), folder / "prompts.jsonl"
    checks_s: list[float] = []
    plain_s: list[float] = []
    found: set[int] = set()
    for _ in range(ROUNDS):
        plain_s.append(seconds(lambda: found.add(read_plainly(file)), time.process_time))
        checks_s.append(
            seconds(lambda: found.add(len(check_run(config, offline=True).material.seeds)), time.process_time)
        )
    if len(found) != 1:
        raise SystemExit(f"the two ways read different prompts: {sorted(found)}")
    return Timings(
        f"checks of {found.pop():,} prompts" + (" with two protected files" if protected else "") + ", seconds of CPU",
        "checks",
        "plain",
        tuple(checks_s),
        tuple(plain_s),
        PROTECTED_TARGET if protected else TARGET,
    )


if __name__ == "__main__":
    asked = parser(__doc__, prompts=PROMPTS).parse_args()
    with tempfile.TemporaryDirectory() as name:
        write_texts(Path(name) / "prompts.jsonl", asked.prompts, 1)
        for number in range(2):
            write_texts(Path(name) / f"protected-{number}.jsonl", PROTECTED, 2 + number)
        for protected in (False, True):
            show(compare(Path(name), protected), as_json=asked.json)
