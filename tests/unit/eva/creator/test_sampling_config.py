from pathlib import Path
from typing import Any

import pytest

from eva.config.files import load_config
from eva.errors import ConfigError
from orchestrator.launch.material import read_material
from orchestrator.launch.preflight import check_run


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["informativeness.metric=learnability"], "informativeness: metric learnability needs a threshold"),
        (
            ["informativeness.threshold=0.5"],
            "threshold is 0.5, but metric a_min does not use one: allowed with learnability",
        ),
        (["informativeness.metric=varianse"], "did you mean 'variance'"),
        (["sampling.temperature=2"], "temperature is 2, but weights minmax do not use one: allowed with rank, softmax"),
        (["sampling.weights=rang"], "did you mean 'rank'"),
        (
            ["sampling.sampler=greedy", "sampling.staleness=0.1", "info_from=reuse"],
            "sampler greedy uses info alone",
        ),
        (["sampling.topic_share=0.3"], "topic_share is 0.3, but sampler weighted does not use topics"),
        (["sampling.staleness=0.1"], "with info_from fresh every prompt of the pool has new responses"),
        (["sampling.staleness=1.5"], "less than or equal to 1"),
        (["pairs.length_ratio=2"], "length_ratio is 2, but choice best_vs_worst does not use lengths"),
        (["evolving.gate={responses: 6}"], "evolving.gate.responses is 6, but generation.n is 6"),
        (["pairs.choice=length_controled"], "did you mean 'length_controlled'"),
    ],
)
def test_a_contradictory_combination_is_refused_and_the_allowed_values_are_named(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("playground", overrides)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["informativeness.metric=learnability", "informativeness.threshold=0.5"],
        ["informativeness.metric=my_module:my_metric"],
        ["sampling.weights=rank", "sampling.temperature=0.3", "sampling.sampler=stratified"],
        ["sampling.staleness=0.3", "info_from=reuse"],
        ["evolving.gate={responses: 5}"],
        ["pairs.choice=length_controlled", "pairs.length_ratio=1.1", "pairs.min_margin=0.1"],
    ],
)
def test_a_consistent_combination_is_accepted(overrides: list[str]) -> None:
    accepted, unset = (load_config("playground", given).model_dump(mode="json") for given in (overrides, []))
    sections = {override.partition("=")[0].partition(".")[0] for override in overrides}
    assert {name for name, section in accepted.items() if section != unset[name]} == sections


def test_unset_options_have_the_documented_values() -> None:
    rule = load_config("playground", ["sampling.weights=softmax", "sampling.sampler=topic_balanced"]).sampling.rule
    assert (rule.weights, rule.sampler, rule.temperature, rule.topic_share) == ("softmax", "topic_balanced", 1.0, 0.5)
    assert (
        load_config(
            "playground", ["sampling.sampler=topic_balanced", "sampling.topic_share=0"]
        ).sampling.rule.topic_share
        == 0
    )


def test_a_metric_that_cannot_be_imported_fails_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="no_such_module"):
        check_run(load_config("playground", ["informativeness.metric=no_such_module:metric"]))


def test_balancing_topics_that_no_prompt_has_fails_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"text": "one", "domain": "art"}\n{"text": "two"}\n{"text": "three"}\n')
    (tmp_path / "run.yaml").write_text(
        "prompts: {path: prompts.jsonl}\nmodel: {path: playground}\nreward: {kind: mock}\n"
        "evolving: {evolver: {kind: playground}}\nsampling: {sampler: topic_balanced}\n"
    )

    def seeds(*overrides: str) -> Any:
        return read_material(load_config(str(tmp_path / "run.yaml"), overrides)).seeds

    assert [prompt.topic for prompt in seeds("prompts.topic_field=domain")] == ["art", None, None]
    with pytest.raises(ConfigError, match="no prompt has a topic"):
        seeds()
