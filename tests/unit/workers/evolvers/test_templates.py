"""EvolInstruct's templates, from the installed distilabel."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva.creator.operators import FAMILIES, FIRST_PACK, NEEDS_PARTNER, SECOND_PACK
from eva.errors import ConfigError
from workers.evolvers import templates
from workers.evolvers.templates import PARTNER, PLACE, fill, load_templates

HOSTILE = st.text() | st.sampled_from(
    ["{}", "{0}", "{prompt}", "%s", "<PROMPT>", "<PARTNER>", "\\1", "\\g<0>", "#Rewritten Prompt#:"]
)
SAYS = {
    "constraints": "add one more constraints/requirements",
    "deepening": "depth and breadth of the inquiry can be increased",
    "concretizing": "replace general concepts with more specific concepts",
    "reasoning": "explicitly request multiple-step reasoning",
    "breadth": "create a brand new prompt",
}


def test_each_operator_of_the_first_pack_has_its_own_template_with_one_placeholder() -> None:
    loaded = load_templates()
    assert set(loaded) == set(FAMILIES)
    for operator in FIRST_PACK:
        assert loaded[operator].count(PLACE) == 1
        for other, says in SAYS.items():
            assert (says in loaded[operator]) == (other == operator)


def test_each_operator_of_the_second_pack_has_its_own_task_and_only_mix_needs_a_second_prompt() -> None:
    loaded = load_templates()
    second = {operator: loaded[operator] for operator in SECOND_PACK}
    assert len(set(second.values())) == len(SECOND_PACK) == 6
    for operator, template in second.items():
        assert template.count(PLACE) == 1
        assert template.count(PARTNER) == int(operator in NEEDS_PARTNER)


@settings(deadline=None)
@given(HOSTILE, HOSTILE, st.sampled_from(["deepening", "mix", "persona"]))
def test_hostile_prompts_arrive_in_the_template_unchanged(text: str, partner: str, operator: str) -> None:
    template = load_templates()[operator]
    before, after = template.split(PLACE)
    first, _, last = after.partition(PARTNER)
    assert fill(template, text, partner) == before + text + first + (partner + last if operator == "mix" else "")


def test_loading_them_imports_nothing_of_distilabel() -> None:
    code = (
        "import sys; from workers.evolvers.templates import load_templates; load_templates();"
        "print([m for m in ('distilabel', 'rich', 'datasets', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_missing_distilabel_is_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install distilabel==1\.5\.3"):
        load_templates()
