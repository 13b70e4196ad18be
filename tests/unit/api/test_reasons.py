from __future__ import annotations

from api.prompts.reasons import reasons
from eva.config import Gate
from eva.types import Prompt
from store.rows import WhyRow

CHILD = Prompt(30, "a child", parent=3, root=3, operator="deepening", depth=1, born=1)


def row(iteration: int) -> WhyRow:
    empty = dict.fromkeys(WhyRow.__dataclass_fields__)
    known = {"iteration": iteration, "buffer": iteration > 1, "checkpoint": iteration, "batch_info": 0.75}
    return WhyRow(**(empty | known))  # pyright: ignore[reportArgumentType] - None for what is unknown


def test_the_info_of_a_gated_child_says_that_it_contains_the_probe() -> None:
    gate = Gate(responses=2, low=0.1)
    told = [*reasons(CHILD, [row(1), row(2)], gate)]
    probed = (
        "Iteration 1: the gate admitted it, because its first 2 responses showed a regret from 0.1 to any higher one. "
        "Its info contains these responses, so it may be a little high."
    )
    assert told.count(probed) == 1
    assert told[told.index(probed) + 1].startswith("Iteration 1: its info was 0.75")
    assert not any("probe" in one or "gate" in one for one in reasons(CHILD, [row(1), row(2)]))
