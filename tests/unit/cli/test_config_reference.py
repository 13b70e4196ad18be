from __future__ import annotations

from pathlib import Path

import yaml
from click.testing import CliRunner

from cli import config_reference
from cli.main import eva
from eva.config.files import load_config, validate

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "config.md"


def test_the_page_of_the_docs_is_current() -> None:
    assert PAGE.read_text("utf-8") == config_reference.markdown(), (
        "run: eva config --reference --markdown > docs/reference/config.md"
    )


def test_every_section_and_key_is_explained() -> None:
    for section in config_reference.sections():
        assert section.text, section.path
        for key in section.keys:
            assert key.text, key.path
            assert key.type, key.path


def test_every_key_of_the_preset_is_in_the_reference() -> None:
    known = (
        {key.path for section in config_reference.sections() for key in section.keys}
        | {key.path.split(" (")[0] + "." + key.name for section in config_reference.sections() for key in section.keys}
        | {section.path for section in config_reference.sections()}
    )  # a section may be unset as a whole

    def paths(values: dict[str, object], prefix: str = "") -> list[str]:
        found: list[str] = []
        for name, value in values.items():
            inner = value if isinstance(value, dict) and value else None
            found += paths(inner, f"{prefix}{name}.") if inner else [prefix + name]
        return found

    given = load_config("playground").model_dump(mode="json")
    unions = ("reward.", "evolving.evolver.", "evaluation.reward", "audit.reward")
    missing = [path for path in paths(given) if path not in known and not path.startswith(unions)]
    assert missing == []


def test_kinds_of_a_section_appear_one_by_one() -> None:
    titles = [section.path for section in config_reference.sections()]
    assert {"reward (kind: mock)", "reward (kind: verifier)", "training"} <= {*titles}


def test_the_types_and_bounds_are_words() -> None:
    keys = {key.path: key for section in config_reference.sections() for key in section.keys}
    assert keys["generation.n"].type == "whole number, ≥ 2, ≤ 1024"
    assert keys["generation.n"].default == "6"
    assert keys["model.path"].default == "required"
    assert keys["info_from"].type == "fresh or reuse"
    assert "a_min" in keys["informativeness.metric"].type


def test_a_printed_config_reads_back_as_the_same_config() -> None:
    shown = CliRunner().invoke(eva, ["config", "playground", "--set", "training.beta=0.2"])
    assert shown.exit_code == 0
    config = validate(yaml.safe_load(shown.stdout))
    assert config == load_config("playground", ["training.beta=0.2"])
    assert config.training.beta == 0.2


def test_the_reference_prints_every_key() -> None:
    shown = CliRunner().invoke(eva, ["config", "--reference"])
    assert "training.learning_rate: number, > 0 = 5e-07" in shown.stdout
    assert "Peak learning rate." in shown.stdout


def test_markdown_alone_is_a_usage_error() -> None:
    assert CliRunner().invoke(eva, ["config", "--markdown"]).exit_code == 2


def test_an_unknown_key_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model: {path: playground, dtyp: float32}\n")
    shown = CliRunner().invoke(eva, ["config", str(file)])
    assert shown.exit_code == 2
    assert "model.dtyp: no such key; did you mean 'dtype'?" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_missing_config_is_refused_with_the_list_of_presets() -> None:
    shown = CliRunner().invoke(eva, ["config", "playgrund"])
    assert shown.exit_code == 2
    assert "Did you mean 'playground'?" in shown.stderr
