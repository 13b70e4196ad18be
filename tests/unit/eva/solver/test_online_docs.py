"""The page on online losses names every rule, every reason, every way with lengths, and every figure."""

import re
from pathlib import Path
from typing import get_args

import yaml

from eva.config.files import load_config
from eva.solver.advantages import REASONS, RULES
from eva.solver.losses import LOSSES, Length

PAGE = (Path(__file__).resolve().parents[4] / "docs/reference/online.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> list[str]:
    """The names in the first column of the table under a line that begins so."""
    table = PAGE[PAGE.index(heading) :].split("\n\n", 1)[0]
    return re.findall(r"^\| ((?:`\w+`(?: \(default\))?(?:, )?)+) \|", table, re.M)


def test_the_page_has_a_row_for_each_rule_reason_and_length() -> None:
    assert [cell.strip("`") for cell in first_cells("| advantage |")] == [*RULES]
    assert [cell.strip("`") for cell in first_cells("| a response that is not")] == [*REASONS]
    assert [cell.strip("`") for cell in first_cells("| length |")] == [*get_args(Length)]
    for name, loss in LOSSES.items():
        assert loss.length is None or re.search(rf"^\| `{loss.length}` .*`{name}` \|$", PAGE, re.M)


def test_the_example_is_a_config_that_loads() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    values = yaml.safe_load(example)
    overrides = [f"{section}.{key}={value}" for section, keys in values.items() for key, value in keys.items()]
    assert load_config("playground", overrides).training.loss == "rloo"


def test_the_example_of_a_users_rule_is_the_one_that_is_tested() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert example in (Path(__file__).parent / "test_advantages.py").read_text(encoding="utf-8")
