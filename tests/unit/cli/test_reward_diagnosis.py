"""`eva doctor --reward`: a rewarder is asked before money is spent on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli_fixtures import Command

ASK = ("doctor", "--reward", "playground")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"How many letters has {'a' * number}?", "chosen": f"{number} " * 50, "rejected": "none"}
        for number in range(1, 11)
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file


def functions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "doctor_rewards.py").write_text(
        "def longer(prompt, response):\n    return float(len(response))\n"
        "def shorter(prompt, response):\n    return -float(len(response))\n"
        "def unlike(prompt, response):\n    return float('none' not in response and len(response) > 90)\n"
    )
    monkeypatch.syspath_prepend(str(folder))


def asked(eva: Command, pairs: Path, function: str) -> tuple[int, dict[str, str], str]:
    reward = f"reward={{kind: verifier, function: 'doctor_rewards:{function}'}}"
    told = eva(*ASK, "--pairs", str(pairs), "--set", reward, "--json")
    found = json.loads(told.stdout)
    return told.exit_code, {one["check"]: one["verdict"] for one in found}, told.stdout


def test_a_rewarder_that_prefers_what_it_should_passes(
    eva: Command, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions(tmp_path, monkeypatch)
    code, verdicts, _ = asked(eva, pairs, "unlike")
    assert code == 0 and verdicts == {"reward": "ok", "all pairs": "ok", "empty": "ok", "cut": "ok", "padded": "ok"}


def test_one_that_prefers_length_or_brevity_is_told(
    eva: Command, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions(tmp_path, monkeypatch)
    code, verdicts, text = asked(eva, pairs, "longer")
    assert code == 1 and verdicts["padded"] == "fail" and verdicts["all pairs"] == "ok"
    assert "until it is the longer one, to the better one in 100% of 10 pairs" in text
    code, verdicts, text = asked(eva, pairs, "shorter")
    assert code == 1 and verdicts["all pairs"] == verdicts["empty"] == verdicts["cut"] == "fail"
    assert "right in 0% (0% to 28%) of 10 pairs" in text


def test_a_function_is_not_asked_ordinary_questions(eva: Command) -> None:
    told = eva(*ASK)
    assert told.exit_code == 0 and "Give pairs of those tasks: --pairs FILE" in told.stdout


@pytest.mark.parametrize(
    "arguments", [("doctor", "--reward"), ("doctor", "playground", "--pairs", __file__), (*ASK, "--gpus", "1x80")]
)
def test_options_that_do_not_fit_are_refused(eva: Command, arguments: tuple[str, ...]) -> None:
    assert eva(*arguments).exit_code == 2
