"""The pages on losses and presets match the code, and their example is the one that the tests run."""

import re
from pathlib import Path

from cli.commands.presets import read_preset
from eva.config.files import presets
from eva.solver.losses import LOSSES, TRL_TYPES

ROOT = Path(__file__).resolve().parents[4]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_page_on_losses_has_a_row_for_each_with_formula_and_source() -> None:
    text = page("reference/losses.md")
    rows = [f"| `{name}` | {loss.summary} | `{loss.formula}` | {loss.source} |" for name, loss in LOSSES.items()]
    assert [line for line in text.splitlines() if line.startswith("| `")] == rows
    assert all(f"`{kind}`" in text for kind in TRL_TYPES)


def test_the_page_on_presets_has_a_row_for_each() -> None:
    rows = [line for line in page("reference/presets.md").splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{preset.name}` | {preset.summary} Needs {preset.needs} |" for preset in map(read_preset, presets())
    ]


def test_the_examples_of_a_users_loss_are_the_ones_that_are_trained_with() -> None:
    examples = re.findall(r"```python\n(.*?)```", page("extending/losses.md"), re.DOTALL)
    tested = (ROOT / "tests/support/loss_functions.py").read_text(encoding="utf-8")
    functions = [example[example.index("def ") :] for example in examples]
    assert len(functions) == 2
    assert all(function in tested for function in functions)
