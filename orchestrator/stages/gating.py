"""The gate: children are probed before they are mixed, as ACCEL admits levels (Parker-Holder et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

from eva.config import Gate
from eva.creator.informativeness import estimate
from eva.types import Checkpoint
from orchestrator.stages.judging import JudgeStage
from store.game import responses


class GateStage(JudgeStage):
    """A few responses per child from the current policy.

    They are the first of the responses that a later judge asks for, which completes them. The probe's rewards
    are stored under a name of their own: those of a rewarder that compares responses hold for this few alone.
    """

    @property
    def responses(self) -> int:
        return self._gate.responses

    @property
    def rewarder(self) -> str:
        return f"{self.run.rewarder} (gate)"

    def close_gate(self, children: Sequence[int], policy: Checkpoint) -> list[int]:
        """The children admitted. What the others would have cost is told in the stage's counts."""
        run, gate = self.run, self._gate
        self.flush()
        judged = run.read(
            lambda conn: responses.judged(conn, run.id, policy.number, self.rewarder, children, gate.responses)
        )
        probed = estimate(judged, keep_cut=run.config.generation.keep_cut)
        # NaN, a child without two usable responses, is inside no band.
        inside_P = (probed.info_P >= gate.low) & (probed.info_P <= (float("inf") if gate.high is None else gate.high))
        admitted = probed.numbers_P[inside_P].tolist()
        refused = len(children) - len(admitted)
        self.close(
            admitted=len(admitted),
            refused={"gate": refused} if refused else {},
            degenerate=probed.counts(),
            probe_responses=len(children) * gate.responses,
            saved_responses=refused * max(0, run.config.generation.n - gate.responses),
        )
        return admitted

    @property
    def _gate(self) -> Gate:
        return self.run.config.evolving.gate or Gate()
