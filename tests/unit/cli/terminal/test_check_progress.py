"""The checks of a new run say where they are: lines in a log, and nothing when they are quick."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.terminal.check_progress import LINE_S, CheckProgress
from orchestrator.launch.material import read_material
from tests.support.fakes import fake_config


def test_a_log_gets_a_line_now_and_then_and_none_when_checks_are_quick() -> None:
    seconds = iter([0.0, 1.0, LINE_S, LINE_S + 1, 2 * LINE_S + 1])
    lines: list[str] = []
    progress = CheckProgress(lines.append, LINE_S, lambda: next(seconds))
    for rows in (1000, 2000, 3000):
        progress("rows of p.jsonl read", rows, None)
    progress("prompts compared with \x1b[31mprotected files", 4000, 20_000)
    assert lines == [
        "[5.0 s] 2,000 rows of p.jsonl read",
        "[11 s] 4,000 of 20,000 prompts compared with \N{SYMBOL FOR ESCAPE}[31mprotected files",
    ]


def test_reading_and_comparing_are_told_while_they_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.launch.material.COMPARED_AT_ONCE", 1200)
    texts = [f"prompt number {number} of a long file" for number in range(2500)]
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    (tmp_path / "bench.txt").write_text(f"{texts[7]}\n{texts[2400]}\n")
    config = fake_config(
        prompts={"path": str(tmp_path / "seeds.jsonl")}, novelty={"protected": [str(tmp_path / "bench.txt")]}
    )
    told: list[tuple[str, int, int | None]] = []
    found = read_material(config, lambda *progress: told.append(progress))
    rows = f"rows of {tmp_path / 'seeds.jsonl'} read"
    compared = "prompts compared with protected files"
    assert told == [(rows, 1000, None), (rows, 2000, None), *((compared, at, 2500) for at in (0, 1200, 2400))]
    assert found.left_out == {"contaminated": 2}
    assert [prompt.text for prompt in found.seeds] == [text for text in texts if text not in (texts[7], texts[2400])]
