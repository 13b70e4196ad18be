"""What every disturbed run is held to."""

from __future__ import annotations

from store.views.fingerprint import first_difference
from tests.support.faults.trial import Trial


def hold_contract(trial: Trial, undisturbed: Trial) -> None:
    """The same decisions and weights, nothing generated twice, nothing lost."""
    one, other = trial.fingerprint(), undisturbed.fingerprint()
    assert trial.repeated == [], "a finished response was generated twice"
    assert trial.lost == [], "rows were lost"
    difference = first_difference(one, other)
    assert difference is None, f"it decided otherwise, first here: {difference}"
    assert one.weights == other.weights, "its checkpoints are others"
