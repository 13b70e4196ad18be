"""A baseline's responses are matched to prompts, and errors say which ones do not match."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eva.config.files import load_config
from eva.errors import ConfigError, PromptFileError
from eva.evaluation.baseline_file import read_baseline
from eva.prompts.files import FilePrompt
from orchestrator.launch.material import read_material
from tests.support.fakes import fake_config

TEXTS = ["Name a bird.", "Why is the sky blue?", "Count to three."]
PROMPTS = [FilePrompt(text) for text in TEXTS]


def answers_file(folder: Path, rows: list[Any], name: str = "baseline.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_alpacas_model_outputs_are_read_in_the_order_of_the_prompts(tmp_path: Path) -> None:
    rows = [
        {"dataset": "d", "instruction": text, "output": f"answer to {text}", "generator": "g"}
        for text in (TEXTS[2], "name  a BIRD.", TEXTS[1], "Another one?")
    ]
    answers = read_baseline(
        answers_file(tmp_path, [*rows, {"instruction": TEXTS[1], "output": "a second"}]), PROMPTS, "set"
    )
    assert answers.texts == ("answer to name  a BIRD.", f"answer to {TEXTS[1]}", f"answer to {TEXTS[2]}")
    assert (answers.unused, answers.repeated) == (1, 1)


@pytest.mark.parametrize("key", ["output", "response", "answer"])
def test_every_key_for_a_response_is_understood_and_an_empty_response_counts(tmp_path: Path, key: str) -> None:
    rows = [{"prompt": text, key: ""} for text in TEXTS]
    assert read_baseline(answers_file(tmp_path, rows, "b.jsonl"), PROMPTS, "set").texts == ("", "", "")


def test_prompts_without_a_response_are_counted_and_named(tmp_path: Path) -> None:
    path = answers_file(tmp_path, [{"prompt": TEXTS[0], "output": "A wren."}])
    with pytest.raises(PromptFileError) as raised:
        read_baseline(path, PROMPTS, "birds")
    assert "no response to 2 of the 3 held-out prompts of birds" in str(raised.value)
    assert "prompt 1, 'Why is the sky blue?'; prompt 2, 'Count to three.'" in str(raised.value)
    with pytest.raises(PromptFileError, match=r"no response to 30 of the 30 .* prompt 2, 'p 2'; and 27 more"):
        read_baseline(path, [FilePrompt(f"p {place}") for place in range(30)], "birds")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Name a bird.", "text": "A wren."}, r"element 1 of .* has no response, but the keys 'prompt', "),
        ({"prompt": "Name a bird.", "output": 3}, "element 1 of .* has no response"),
        ({"reply": "A wren."}, "element 1 of .* has the keys 'reply'"),
    ],
)
def test_a_row_without_prompt_or_response_is_refused_and_named(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(PromptFileError, match=said):
        read_baseline(answers_file(tmp_path, [row]), PROMPTS, "set")


def config_text(baseline: str) -> str:
    return (
        "prompts: {playground: 24}\nmodel: {path: playground}\nreward: {kind: mock}\n"
        "evolving: {evolver: {kind: playground}}\n"
        f"evaluation: {{sets: {{birds: birds.jsonl}}, baseline: {baseline}}}\n"
    )


def test_the_baselines_path_is_relative_to_the_config_and_initial_is_not_a_path(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(config_text("{birds: answers/b.json, other: initial}"))
    config = load_config(str(tmp_path / "run.yaml")).evaluation
    assert config.baseline_of("birds") == str(tmp_path / "answers" / "b.json")
    assert config.baseline_of("other") == "initial" and config.baseline_of("third") is None
    (tmp_path / "run.yaml").write_text(config_text("initial"))
    assert load_config(str(tmp_path / "run.yaml")).evaluation.baseline_of("whatever") == "initial"


def test_a_path_without_its_set_is_refused_with_the_right_form(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(config_text("b.json"))
    with pytest.raises(ConfigError, match=r"allowed are initial, or a file for each set, as \{SET: b.json\}"):
        load_config(str(tmp_path / "run.yaml"))


def test_a_baseline_without_a_set_fails_before_anything_starts(tmp_path: Path) -> None:
    path = str(answers_file(tmp_path, []))
    with pytest.raises(ConfigError, match=r"baseline is set for birds, .*Expected one of: easy, medium, hard"):
        read_material(fake_config(evaluation={"playground": 3, "baseline": {"birds": path}}))
    with pytest.raises(ConfigError, match="for every held-out set, but there is no such set"):
        read_material(fake_config(evaluation={"baseline": "initial"}))
