"""A machine that is lost and an engine that is frozen, under real engine actors: only their prompts are asked again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.faults.simulated_cluster import play_apart
from tests.support.faults.two_machines import WINDOW


@pytest.mark.timeout(400)
def test_engines_of_a_lost_machine_and_frozen_engines_are_replaced_and_only_their_prompts_are_asked_again(
    tmp_path: Path,
) -> None:
    seen = play_apart("tests.support.faults.two_machines", tmp_path, timeout_s=390)
    for part, reason in ((seen["raylet"], "died"), (seen["frozen"], "finished nothing for")):
        assert [kind for kind, _, _ in part["told"]].count("engine_lost") == 1, part["told"]
        lost = next(data for kind, _, data in part["told"] if kind == "engine_lost")
        assert reason in lost["reason"].lower()
        assert part["answered"] and part["answers_by_seed"] == 7
        assert 0 < lost["asked_again"] <= WINDOW
        # what had not begun at the lost engine is begun once
        assert part["requested"] <= part["asked"] <= part["requested"] + lost["asked_again"]
    assert seen["nodes"] == 1
    changes = [kind for kind, _ in seen["told"] if kind in ("engine_lost", "engine_back")]
    assert changes == ["engine_lost", "engine_back"] * 2, seen["told"]
    assert not seen["frozen"]["harmed"], "the frozen process is gone, with what it held of the device"
