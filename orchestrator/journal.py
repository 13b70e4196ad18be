"""The loop's memory: Postgres, read when a stage starts and written when it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.creator.budget import Spending
from eva.creator.evolution import EvolutionPlan
from eva.creator.mixing import next_prompts
from eva.creator.novelty import question_key
from eva.creator.sampling import PromptTraits, SamplingRule
from eva.creator.steering import UNSTEERED, Steering, steering_of
from eva.errors import NotFoundError, RunStoppedError, StorageError
from eva.measures.diversity import Breach
from eva.roles import Classifier, Embedder, Rewarder
from eva.runtime.failpoints import reach
from eva.runtime.logs import process_log_context
from eva.seeds import derive
from eva.solver.chunks import Chunk, cut_batch
from eva.solver.losses import mixed_policies
from eva.solver.manifest import CREATOR, is_stored
from eva.types import Checkpoint, ChunkPairs, Player, Prompt, RewardTable, TrainingJob
from orchestrator.hold import pruning
from orchestrator.hold.chain_files import ChainFiles
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.hold.record_files import tidy_record_files
from orchestrator.stages.auditing import AuditStage
from orchestrator.stages.diversity import CategoryStage, collapse_error, diversity_figures, store_diversity
from orchestrator.stages.earlier_prompts import EarlierPrompts
from orchestrator.stages.evaluation import EvaluateStage
from orchestrator.stages.evolving import EvolveStage, complete_plan, spent_on
from orchestrator.stages.gain import CreatorRewardStage
from orchestrator.stages.gating import GateStage
from orchestrator.stages.judging import JudgeStage
from orchestrator.stages.pairing import AdvantageStage, PairStage
from orchestrator.stages.sampling import SampleStage
from orchestrator.stages.stage import Stage
from orchestrator.stages.training import CreatorTrainStage, TrainStage, write_children, write_pairs, write_responses
from store.game import batches, checkpoints, heldout, pools, prompts, responses
from store.rows import CheckpointRow
from store.runs import events, runs
from store.views import costs, statistics

log = logging.getLogger(__name__)


class Journal:
    """What the loop reads and writes of the run that its driver holds."""

    def __init__(self, run: ClaimedRun, embedder: Embedder | None = None, classifier: Classifier | None = None) -> None:
        self._run, self._earlier, self._classifier = run, EarlierPrompts(run, embedder), classifier
        self._pairs_in: dict[Path, int] = {}

    @property
    def config(self) -> RunConfig:
        return self._run.config

    @property
    def folder(self) -> str:
        """Where the run's checkpoints are published: a folder, or an address in an object store."""
        return self._run.place

    # Stages, as context managers. One that is complete runs again without doing anything.

    def stage(self, iteration: int, name: str, total: int) -> Stage:
        return Stage(self._run, iteration, name, total)

    def judging(
        self, iteration: int, name: str, prompts: Sequence[int], policy: Checkpoint, chunk: Chunk | None = None
    ) -> JudgeStage:
        return JudgeStage(self._run, iteration, name, prompts, policy, _part(chunk))

    def sampling(self, iteration: int, pool: Sequence[int]) -> SampleStage:
        return SampleStage(self._run, iteration, len(pool), self.steering(iteration))

    def evolving(self, iteration: int, subset: Sequence[int]) -> EvolveStage:
        return EvolveStage(self._run, iteration, subset, self._earlier, self.steering(iteration))

    def gating(self, iteration: int, children: Sequence[int], policy: Checkpoint) -> GateStage:
        return GateStage(self._run, iteration, "gate", children, policy)

    def auditing(
        self, iteration: int, batch: Sequence[int], policy: Checkpoint, auditor: Rewarder | None
    ) -> AuditStage:
        return AuditStage(self._run, iteration, batch, policy, None if auditor is None else auditor.name)

    def pairing(self, iteration: int, chunk: Chunk) -> PairStage:
        return PairStage(self._run, iteration, "pair", len(chunk.batch), _part(chunk), done=chunk.before)

    def weighing(self, iteration: int, chunk: Chunk) -> AdvantageStage:
        return AdvantageStage(self._run, iteration, "advantage", len(chunk.batch), _part(chunk), done=chunk.before)

    def training(
        self, iteration: int, chunk: Chunk, beside: Callable[[], Mapping[str, float]] = dict[str, float]
    ) -> TrainStage:
        return TrainStage(self._run, iteration, "train", 0, _part(chunk), beside=beside)

    def rewarding_creator(self, iteration: int) -> CreatorRewardStage:
        return CreatorRewardStage(self._run, iteration, "reward_creator", 0)

    def training_creator(self, iteration: int) -> CreatorTrainStage:
        return CreatorTrainStage(self._run, iteration, "train_creator", 0)

    def evaluating(
        self, iteration: int, name: str, policy: Checkpoint, evaluator: Rewarder, auditor: Rewarder | None
    ) -> EvaluateStage:
        second = None if auditor is None else auditor.name
        return EvaluateStage(self._run, iteration, name, policy, evaluator.name, second)

    # The state of the run.

    def remaining_iterations(self) -> range:
        """Returns the iterations from the first unfinished one to the last."""
        row = self._run.read(lambda conn: runs.get_run(conn, self._run.id))
        return range(row.iteration, self.config.iterations)

    def evaluates(self, iteration: int) -> bool:
        """Whether the policy that an iteration trains is evaluated."""
        when = self.config.evaluation.when
        return when == "each" or (when != "never" and iteration == self.config.iterations - 1)

    @property
    def evaluates_initial(self) -> bool:
        """Whether the initial model is evaluated."""
        return self.config.evaluation.when in ("each", "end")

    def policy(self, iteration: int) -> Checkpoint | None:
        """Returns the policy that an iteration starts with; None before the initial model is adopted."""
        return self._run.checkpoint(iteration)

    def creator(self, iteration: int) -> Checkpoint | None:
        """Returns the weights that a creator of its own writes with; None before its initial model is adopted."""
        return self._run.creator(iteration)

    def writer(self, iteration: int, policy: Checkpoint) -> Checkpoint:
        """Returns the weights that write children where the fleet does: the policy's, or those of a creator's own."""
        if self.config.evolving.creator is None:
            return policy
        if (creator := self.creator(iteration)) is None:
            raise NotFoundError(f"the creator of run {self._run.name} has no checkpoint")
        return creator

    def lacks_creator(self, iteration: int) -> bool:
        """Whether a creator with weights of its own is to write, and its initial model is not adopted yet."""
        return self.config.evolving.creator is not None and self.creator(iteration) is None

    @property
    def creator_folder(self) -> str:
        """Where the creator's checkpoints are published, as `folder` is for the solver's."""
        return f"{self._run.place}/{CREATOR}"

    def adopt(self, checkpoint: Checkpoint, player: Player = "solver") -> Checkpoint:
        """Stores the initial model of a player as its checkpoint 0."""

        def insert(conn: Connection) -> None:
            checkpoints.insert_checkpoint(conn, self._run.id, checkpoint, player=player)
            reach("journal.adopt.before_commit")

        self._run.write(insert)
        reach("journal.adopt.after_commit")
        return checkpoint

    def pool(self, iteration: int) -> list[int]:
        """Returns the numbers of the prompts that the creator looks at, ascending."""
        run = self._run
        if (size := self.config.prompts.per_iteration) is not None:
            return next_prompts(run.read(lambda conn: prompts.read_numbers_born(conn, run.id, -1, -1)), size, iteration)
        if iteration > 0 and self.config.pool == "last_batch":
            return run.read(lambda conn: batches.read_batch_numbers(conn, run.id, iteration - 1))
        return run.read(lambda conn: prompts.read_numbers_born(conn, run.id, -1, iteration - 1))

    def batch_size(self, iteration: int) -> int:
        """Returns how many prompts the solver trains on: as many as the iteration before, at first all seed prompts."""
        run = self._run
        if iteration == 0:
            return len(self.pool(0))
        return len(run.read(lambda conn: batches.read_batch_numbers(conn, run.id, iteration - 1)))

    def finish_iteration(self, iteration: int, pool: Sequence[int], batch: Sequence[int]) -> None:
        """Stores categories, cost and diversity; a resumed run starts with the next iteration from here on."""
        if self._classifier is not None:
            with CategoryStage(self._run, iteration, batch) as stage:
                stage.classify(self._classifier)
        with process_log_context(iteration=iteration):
            self._finish(iteration, pool, batch)
            if self.config.checkpoints.keep != "all":
                self._prune()
            tidy_record_files(self._run)

    def _finish(self, iteration: int, pool: Sequence[int], batch: Sequence[int]) -> None:
        touched = sorted({*pool, *batch})
        figures = diversity_figures(self._run, iteration, batch)
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
            pausing.extend(store_diversity(conn, self._run, iteration, figures))
            reach("iteration.finish.before_commit")

        try:
            self._run.write(finish)
            reach("iteration.finish.after_commit")
            self._run.spans.end_iteration()
        except RunStoppedError as error:
            raise (collapse_error(self._run, pausing) if pausing else error) from None

    def _prune(self) -> None:
        """Deletes the checkpoints that nobody needs any more. What cannot be deleted is tried again later."""
        run = self._run

        def mark(conn: Connection) -> pruning.Pruning:
            row = runs.get_run(conn, run.id)
            keep = self.config.checkpoints.keep
            return pruning.mark(conn, row, run.folder, keep, respect_configs=True, broken=broken)

        def rows() -> list[CheckpointRow]:
            return run.read(lambda conn: checkpoints.read_checkpoints(conn, run.id, None))

        doomed: Sequence[CheckpointRow] = ()
        try:
            broken = pruning.broken_in_store(rows())
            doomed = run.write(mark).doomed
            pruning.delete(rows(), run.folder, run.stored_name)
        except (OSError, StorageError) as error:
            run.listener.on_message(f"a checkpoint that is no longer needed could not be deleted: {error}")
        else:
            for row in doomed:
                log.info("deleted %s, which is no longer needed", row.title)

    # What creator and solver need.

    def rewards(self, numbers: Sequence[int], policy: Checkpoint) -> RewardTable:
        """Returns the rewards of these prompts under the policy."""
        run, n = self._run, self.config.generation.n
        return run.read(lambda conn: responses.read_reward_table(conn, run.id, policy.number, run.rewarder, numbers, n))

    def newest_rewards(self, numbers: Sequence[int], iteration: int) -> RewardTable:
        """Returns the rewards of these prompts, each under the newest policy that has all n responses to it.

        A prompt to which no policy has them has the rewards of the iteration's policy.
        """
        run, n, newest = self._run, self.config.generation.n, self._newest_policies(numbers)
        policies = {number: newest.get(number, iteration) for number in numbers}
        return run.read(lambda conn: pools.read_rewards_by_policy(conn, run.id, run.rewarder, numbers, policies, n))

    def traits(self, judged: RewardTable, iteration: int) -> PromptTraits:
        """Returns topics and ages of the pool's prompts, for the samplers that use them."""
        return self._run.read(lambda conn: pools.read_traits(conn, self._run.id, judged, iteration))

    def never_judged(self, numbers: Sequence[int]) -> list[int]:
        """Returns the prompts to which no policy has n responses."""
        newest = self._newest_policies(numbers)
        return [number for number in numbers if number not in newest]

    def evolution_plan(self, iteration: int, *, ahead: bool = False) -> EvolutionPlan:
        """Returns what the config and the run's prompts say about an iteration's evolutions.

        `ahead`: the iteration has not begun, and another stage is open.
        """
        evolving, run = self.config.evolving, self._run
        known = run.read(lambda conn: prompts.read_text_keys(conn, run.id))
        held_out = run.read(lambda conn: heldout.read_all_heldout(conn, run.id))
        return EvolutionPlan(
            seed=self.config.seed,
            iteration=iteration,
            per_prompt=evolving.per_prompt,
            attempts=evolving.attempts,
            mode="fan_out" if evolving.copies else evolving.mode,
            max_chars=evolving.max_chars,
            similarity=evolving.similarity,
            known=known,
            protected=frozenset(question_key(text, context) for text, context in held_out),
            novelty=self._earlier.before(iteration, ahead=ahead),
            copies=evolving.copies,
            guide_floor=0.0 if evolving.guide is None else evolving.guide.floor,
        )

    def evolves_ahead(self, iteration: int) -> bool:
        """Whether the children of an iteration may be evolved while the solver is trained in the one before."""
        config = self.config
        return config.overlaps and iteration < config.iterations and config.creates(iteration)

    def plan_ahead(self, iteration: int, policies: Mapping[int, int], offered: tuple[str, ...]) -> EvolutionPlan:
        """Returns the plan of an iteration that has not begun. Safe on any thread.

        `policies`: the prompts that it will sample, each with the checkpoint whose rewards it is estimated from.
        """
        plan = self.evolution_plan(iteration, ahead=True)
        return complete_plan(self._run, plan, offered, policies, UNSTEERED)[0]

    def texts(self, numbers: Sequence[int]) -> list[Prompt]:
        """Returns these prompts with their texts."""
        return self._run.read(lambda conn: prompts.read_prompts(conn, self._run.id, numbers))

    def new_spending(self) -> Spending:
        """Returns the budget of an iteration's evolutions, of which nothing is spent."""
        return spent_on([], self.config.evolving)

    def chain_files(self, iteration: int) -> ChainFiles:
        """Returns the files of the children that are evolved ahead for an iteration."""
        return ChainFiles(self._run.folder, iteration, self._run.lease.fence.fence)

    def steering(self, iteration: int) -> Steering:
        """Returns what an iteration's creator is steered by, which only stored figures of earlier batches decide."""
        rule, run = self.config.collapse.rule, self._run
        if rule is None:
            return UNSTEERED
        figures = run.read(lambda conn: statistics.get_statistics(conn, run.id, "diversity"))
        return steering_of(rule, [figures[earlier] for earlier in sorted(figures) if earlier < iteration])

    def sampling_rule(self, iteration: int) -> SamplingRule:
        """Returns how an iteration's prompts are sampled."""
        return self.config.sampling_rule(self.steering(iteration).temperature)

    def buffer_share(self, iteration: int) -> float:
        """Returns the buffer's share of an iteration's batch."""
        return min(1.0, self.config.mixing.buffer + self.steering(iteration).buffer)

    def chunks(self, iteration: int, batch: Sequence[int]) -> list[Chunk]:
        """Returns the parts of a batch that are judged, paired and trained on one after the other, usually one."""
        config = self.config
        return cut_batch(batch, config.chunk_prompts, config.steps_on, seed=config.seed, iteration=iteration)

    def training_job(self, iteration: int, chunk: Chunk, policy: Checkpoint) -> TrainingJob | None:
        """Writes what the iteration learns from, up to this chunk, to files and returns the training job.

        None when there is nothing, or when a chunk that others follow need not be trained on yet: then the responses
        to the next one are stored, and a later job does it.
        """
        training = self.config.training
        scratch = training.mode == "scratch"
        start = self._checkpoint(0) if scratch else policy if policy.step == 0 else self._checkpoint(policy.number)
        job = TrainingJob(
            number=iteration + 1,
            iteration=iteration,
            policy=start,
            reference=self._checkpoint(0) if training.reference == "initial" else start,
            pairs_path="",
            folder=self.folder,
            seed=derive(self.config.seed, iteration, "train"),
            fence=self._run.lease.fence.fence,
            initial=self._checkpoint(0) if training.compares_with_initial else None,
            earlier=self._mixed_with(start) if training.facts.optimistic else (),
            sampling=self.config.generation.settings if training.facts.online else None,
        )
        if chunk.cut:
            return self._chunk_job(job, chunk)
        path = self._run.own_folder / "jobs" / f"pairs-{iteration}.jsonl"
        if self._write_learned(path, range(iteration + 1) if scratch else [iteration]) == 0:
            return None
        return replace(job, pairs_path=str(path))

    def creator_job(self, iteration: int, creator: Checkpoint) -> TrainingJob | None:
        """Writes the children that the creator learns from to a file and returns its training job; None without any."""
        config, run = self.config.evolving.creator, self._run
        path = run.own_folder / "jobs" / f"creator-{iteration}.parquet"
        if config is None or write_children(run, path, iteration) == 0:
            return None
        reach("creator.file_written")
        initial = run.checkpoint(0, "creator") if config.training.reference == "initial" else None
        return TrainingJob(
            number=iteration + 1,
            iteration=iteration,
            policy=creator,
            reference=initial or creator,
            pairs_path=str(path),
            folder=self.creator_folder,
            seed=derive(self.config.seed, iteration, "train_creator"),
            fence=run.lease.fence.fence,
            sampling=config.settings,
            player="creator",
        )

    def _write_learned(self, path: Path, iterations: Sequence[int], chunk: int | None = None) -> int:
        """Writes a file of pairs, or of responses with their advantages. Returns their number."""
        write = write_responses if self.config.training.facts.online else write_pairs
        count = write(self._run, path, iterations, chunk)
        reach("pairs.file_written")
        return count

    def _chunk_job(self, job: TrainingJob, chunk: Chunk) -> TrainingJob | None:
        """Returns the job of all chunks so far. A chunk's file is written once per driver.

        Before a whole batch is there the trainer would take no step, so it is not asked.
        """
        if not chunk.last and not self._awaits_newest(job, chunk):
            return None
        parts = self.chunks(job.iteration, chunk.batch)
        trained = parts[: chunk.number + 1]
        files = [self._run.own_folder / "jobs" / f"pairs-{job.iteration}-{part.number}.jsonl" for part in trained]
        for part, file in zip(trained, files, strict=True):
            if file not in self._pairs_in:
                self._pairs_in[file] = self._write_learned(file, [job.iteration], part.number)
        if sum(self._pairs_in[file] for file in files) < (1 if chunk.last else self.config.training.batch):
            return None
        stays = self.config.training.keep_synced or is_stored(self.folder)
        inside = self.folder if stays else str(self._run.own_folder)
        return replace(
            job,
            chunks=tuple(ChunkPairs(str(file), part.steps) for file, part in zip(files, trained, strict=True)),
            planned_steps=sum(part.steps for part in parts),
            hand_over=None if chunk.last else f"{inside}/inside/iteration-{job.iteration:04d}",
        )

    def _awaits_newest(self, job: TrainingJob, chunk: Chunk) -> bool:
        """Whether a prompt of the next chunk lacks responses, and no checkpoint says that all of this is over."""
        run, n = self._run, self.config.generation.n
        if self.policy(job.number) is not None:
            return False
        coverage = run.read(
            lambda conn: responses.coverage(conn, run.id, job.iteration, run.rewarder, chunk.following, n)
        )
        return bool(coverage.to_generate)

    def _mixed_with(self, policy: Checkpoint) -> tuple[Checkpoint, ...]:
        """Returns the policies before this one that an optimistic loss mixes; one that was not trained adds none."""
        policies = {policy.digest: policy}
        for number in mixed_policies(policy.number):
            checkpoint = self._checkpoint(number)
            policies.setdefault(checkpoint.digest, checkpoint)
        return tuple(policies.values())[1:]

    def _checkpoint(self, number: int) -> Checkpoint:
        if (checkpoint := self.policy(number)) is None:
            raise NotFoundError(f"run {self._run.name} has no checkpoint {number}")
        return checkpoint

    def _newest_policies(self, numbers: Sequence[int]) -> dict[int, int]:
        run, n = self._run, self.config.generation.n
        return run.read(lambda conn: responses.newest_checkpoints(conn, run.id, run.rewarder, numbers, n))


def _part(chunk: Chunk | None) -> Chunk | None:
    """The chunk that a stage is a part for; None where the batch is whole."""
    return chunk if chunk is not None and chunk.cut else None
