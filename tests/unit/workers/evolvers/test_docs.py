"""The pages about evolving say what the code does, and their example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from eva.config import Evolving
from eva.creator.evolution import EvolutionPlan, evolve_chain
from eva.creator.operators import FAMILIES, FIRST_PACK
from eva.types import Prompt
from workers.evolvers import EVOLVERS, build_evolver

DOCS = Path(__file__).parents[4] / "docs"


def rows(page: str) -> dict[str, list[str]]:
    """The tables' rows by the name in their first cell."""
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", (DOCS / page).read_text(), re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in found}


def test_every_operator_has_a_row_with_its_family_and_pack() -> None:
    # the page's other table, of fields, has one cell after the name
    operators = {name: cells for name, cells in rows("reference/operators.md").items() if len(cells) == 3}
    said = {name: (family, pack) for name, (family, pack, _) in operators.items()}
    assert said == {
        name: (family.replace("_", " "), "first" if name in FIRST_PACK else "second")
        for name, family in FAMILIES.items()
    }


def test_every_evolver_has_a_row() -> None:
    assert EVOLVERS.keys() <= rows("reference/evolvers.md").keys()


def test_the_example_evolves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "extending/evolvers.md").read_text()
    code, config = re.findall(r"```(?:python|yaml)\n(.*?)```", page, re.DOTALL)
    (tmp_path / "audience.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    evolver = build_evolver(Evolving.model_validate(yaml.safe_load(config)["evolving"]))
    plan = EvolutionPlan(
        seed=1,
        iteration=1,
        per_prompt=3,
        attempts=2,
        mode="chain",
        max_chars=500,
        similarity=0.99,
        known=frozenset(),
        protected=frozenset(),
    )
    chain = evolve_chain(Prompt(0, "Describe the tides."), evolver, plan)
    assert len(chain.accepted) == 3 and chain == evolve_chain(Prompt(0, "Describe the tides."), evolver, plan)
    assert re.match(
        r"Describe the tides\. Explain it to a (child|specialist) from (Lima|Oslo)\.", chain.accepted[0].reply.text
    )
