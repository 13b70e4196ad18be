"""The contract that every disturbed run must keep."""

from __future__ import annotations

from store.views.fingerprint import first_difference
from tests.support.faults.trial import Trial


def hold_contract(trial: Trial, undisturbed: Trial) -> None:
    """Checks for the same decisions and weights, no response generated twice, and no row lost."""
    actual, expected = trial.fingerprint(), undisturbed.fingerprint()
    assert trial.repeated == [], "a finished response was generated twice"
    assert trial.lost == [], "rows were lost"
    difference = first_difference(actual, expected)
    assert difference is None, f"its decisions differ, first here: {difference}"
    assert actual.weights == expected.weights, "its checkpoints differ"
