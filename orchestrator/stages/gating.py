"""The gate: probes children before they enter the batch, as ACCEL admits levels (Parker-Holder et al. 2022)."""

from __future__ import annotations

from eva.config import Gate
from eva.creator.informativeness import estimate
from orchestrator.stages.judging import JudgeStage
from store.game import responses


class GateStage(JudgeStage):
    """Judges each child by a few responses from the current policy.

    They are the first of the n responses that a later judge stage asks for; that stage generates only the others.
    The probe's rewards are stored under a name of their own, because a rewarder that compares responses gives
    rewards that hold only among these few.
    """

    @property
    def responses(self) -> int:
        return self._gate.responses

    @property
    def rewarder(self) -> str:
        return f"{self.run.rewarder} (gate)"

    def close_gate(self) -> list[int]:
        """Returns the children admitted. The stage's counts say how many responses the others have saved."""
        run, gate, children, policy = self.run, self._gate, self.numbers, self.policy.number
        self.flush()
        judged = run.read(
            lambda conn: responses.read_reward_table(conn, run.id, policy, self.rewarder, children, gate.responses)
        )
        probed = estimate(judged, keep_cut=run.config.generation.keep_cut)
        # NaN, the value of a child without two usable responses, is inside no band.
        inside_P = (probed.info_P >= gate.low) & (probed.info_P <= (float("inf") if gate.high is None else gate.high))
        admitted = probed.numbers_P[inside_P].tolist()
        refused = len(children) - len(admitted)
        self.close(
            self.check_usable,
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
