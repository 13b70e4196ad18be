"""How the loop remembers: Postgres is the truth, read at the start of each stage and written at its end."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.creator.evolution import EvolutionPlan
from eva.creator.novelty import question_key
from eva.creator.sampling import PromptTraits
from eva.errors import NotFoundError, RunStoppedError
from eva.measures.diversity import Breach
from eva.roles import Embedder
from eva.runtime.failpoints import reach
from eva.runtime.logs import process_log_context
from eva.seeds import derive
from eva.types import Checkpoint, RewardTable, TrainingJob
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.stages.auditing import AuditStage
from orchestrator.stages.creating import EvolveStage, SampleStage
from orchestrator.stages.diversity import collapsed, heed, measure
from orchestrator.stages.earlier_prompts import Known
from orchestrator.stages.evaluation import EvaluateStage
from orchestrator.stages.gating import GateStage
from orchestrator.stages.judging import JudgeStage
from orchestrator.stages.solving import PairStage, TrainStage, write_pairs
from orchestrator.stages.stage import Stage
from store.game import batches, checkpoints, heldout, pools, prompts, responses
from store.runs import events, runs
from store.views import costs, statistics


class Journal:
    """What one driver knows of the run that it holds."""

    def __init__(self, run: ClaimedRun, embedder: Embedder | None = None) -> None:
        self._run, self._known_texts = run, Known(run, embedder)

    @property
    def config(self) -> RunConfig:
        return self._run.config

    @property
    def folder(self) -> str:
        """Where the run's checkpoints and jobs lie."""
        return str(self._run.folder)

    # Stages: context managers; a closed one is walked through again for nothing.

    def stage(self, iteration: int, name: str, total: int) -> Stage:
        return Stage(self._run, iteration, name, total)

    def judging(self, iteration: int, name: str, total: int) -> JudgeStage:
        return JudgeStage(self._run, iteration, name, total)

    def evaluating(self, iteration: int, name: str) -> EvaluateStage:
        return EvaluateStage(self._run, iteration, name, 0)

    def auditing(self, iteration: int) -> AuditStage:
        return AuditStage(self._run, iteration, "audit", 0)

    def sampling(self, iteration: int, total: int) -> SampleStage:
        return SampleStage(self._run, iteration, "sample", total)

    def gating(self, iteration: int, total: int) -> GateStage:
        return GateStage(self._run, iteration, "gate", total)

    def evolving(self, iteration: int, total: int) -> EvolveStage:
        return EvolveStage(self._run, iteration, total, self._known_texts.twins)

    def pairing(self, iteration: int, total: int) -> PairStage:
        return PairStage(self._run, iteration, "pair", total)

    def training(self, iteration: int) -> TrainStage:
        return TrainStage(self._run, iteration, "train", 0)

    # Where the run stands.

    def remaining_iterations(self) -> range:
        """From the first iteration that is not finished to the last."""
        row = self._run.read(lambda conn: runs.get_run(conn, self._run.id))
        return range(row.iteration, self.config.iterations)

    def evaluates(self, iteration: int) -> bool:
        """Whether the policy that an iteration makes is evaluated on the held-out prompts."""
        return self.config.evaluation.when == "each" or iteration == self.config.iterations - 1

    def policy(self, iteration: int) -> Checkpoint | None:
        """The policy that an iteration starts from; None before the given model is adopted."""
        return self._run.checkpoint(iteration)

    def adopt(self, checkpoint: Checkpoint) -> Checkpoint:
        """Take the given model as checkpoint 0."""

        def insert(conn: Connection) -> None:
            checkpoints.insert_checkpoint(conn, self._run.id, checkpoint)
            reach("journal.adopt.before_commit")

        self._run.write(insert)
        reach("journal.adopt.after_commit")
        return checkpoint

    def pool(self, iteration: int) -> list[int]:
        """Numbers of the prompts that the creator looks at, ascending."""
        run = self._run
        if iteration > 0 and self.config.pool == "last_batch":
            return run.read(lambda conn: batches.read_batch_numbers(conn, run.id, iteration - 1))
        return run.read(lambda conn: prompts.read_numbers_born(conn, run.id, -1, iteration - 1))

    def batch_size(self, iteration: int) -> int:
        """Prompts that the solver trains on: as many as in the iteration before, at first as there are seed prompts."""
        run = self._run
        if iteration == 0:
            return len(self.pool(0))
        return len(run.read(lambda conn: batches.read_batch_numbers(conn, run.id, iteration - 1)))

    def finish_iteration(self, iteration: int, pool: Sequence[int], batch: Sequence[int]) -> None:
        """Store what the iteration cost, and move on: from here a resume starts with the next one."""
        with process_log_context(iteration=iteration):
            self._finish(iteration, pool, batch)

    def _finish(self, iteration: int, pool: Sequence[int], batch: Sequence[int]) -> None:
        touched = sorted({*pool, *batch})
        figures = measure(self._run, iteration, batch)
        pausing: list[Breach] = []

        def finish(conn: Connection) -> None:
            pausing.clear()
            cost = {
                **responses.sampling_cost(conn, self._run.id, iteration, touched),
                "usd": costs.iteration_cost(conn, self._run.id, iteration),
            }
            statistics.put_statistic(conn, self._run.id, iteration, "cost", cost)
            runs.set_iteration(conn, self._run.id, iteration + 1)
            events.append_event(conn, self._run.id, "iteration_finished", {"batch": len(batch)}, iteration=iteration)
            pausing.extend(heed(conn, self._run, iteration, figures))
            reach("iteration.finish.before_commit")

        try:
            self._run.write(finish)
            reach("iteration.finish.after_commit")
            self._run.spans.iteration_ends()
        except RunStoppedError as error:
            raise (collapsed(self._run, pausing) if pausing else error) from None

    # What the players need.

    def judged(self, numbers: Sequence[int], policy: Checkpoint) -> RewardTable:
        """The rewards of these prompts under the policy."""
        return self._judged(numbers, policy.number)

    def reused(self, numbers: Sequence[int], policy: Checkpoint) -> RewardTable:
        """The rewards of these prompts, each under the newest policy that has answered it in full."""
        run, n, newest = self._run, self.config.generation.n, self._newest(numbers)
        answered_by = {number: newest.get(number, policy.number) for number in numbers}
        return run.read(lambda conn: pools.read_rewards_by_policy(conn, run.id, run.rewarder, numbers, answered_by, n))

    def traits(self, judged: RewardTable, policy: Checkpoint) -> PromptTraits:
        """Topics and ages of the pool's prompts, for the samplers that look at them."""
        return self._run.read(lambda conn: pools.read_traits(conn, self._run.id, judged, policy.number))

    def unanswered(self, numbers: Sequence[int]) -> list[int]:
        """Those of the prompts that no policy has answered in full."""
        newest = self._newest(numbers)
        return [number for number in numbers if number not in newest]

    def evolution_plan(self, iteration: int) -> EvolutionPlan:
        evolving, run = self.config.evolving, self._run
        known = run.read(lambda conn: prompts.read_text_keys(conn, run.id))
        held_out = run.read(lambda conn: heldout.read_all_heldout(conn, run.id))
        return EvolutionPlan(
            seed=self.config.seed,
            iteration=iteration,
            per_prompt=evolving.per_prompt,
            attempts=evolving.attempts,
            mode=evolving.mode,
            max_chars=evolving.max_chars,
            similarity=evolving.similarity,
            known=known,
            protected=frozenset(question_key(text, context) for text, context in held_out),
            novelty=self._known_texts.before(iteration),
        )

    def training_job(self, iteration: int, policy: Checkpoint) -> TrainingJob | None:
        """The iteration's job, its pairs written to a file; None when there is no pair to train on."""
        training = self.config.training
        scratch = training.mode == "scratch"
        path = self._run.folder / "jobs" / f"pairs-{iteration}.jsonl"
        if write_pairs(self._run, path, range(iteration + 1) if scratch else [iteration]) == 0:
            return None
        start = self._known(0) if scratch else policy
        return TrainingJob(
            number=iteration + 1,
            iteration=iteration,
            policy=start,
            reference=self._known(0) if training.reference == "initial" else start,
            pairs_path=str(path),
            folder=self.folder,
            seed=derive(self.config.seed, iteration, "train"),
            fence=self._run.lease.fence.fence,
        )

    def _known(self, number: int) -> Checkpoint:
        if (checkpoint := self.policy(number)) is None:
            raise NotFoundError(f"run {self._run.name} has no checkpoint {number}")
        return checkpoint

    def _judged(self, numbers: Sequence[int], checkpoint: int) -> RewardTable:
        run, n = self._run, self.config.generation.n
        return run.read(lambda conn: responses.judged(conn, run.id, checkpoint, run.rewarder, numbers, n))

    def _newest(self, numbers: Sequence[int]) -> dict[int, int]:
        run, n = self._run, self.config.generation.n
        return run.read(lambda conn: responses.newest_checkpoints(conn, run.id, run.rewarder, numbers, n))
