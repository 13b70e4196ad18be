"""A plan in words: the verdict, the arithmetic behind it, and the error for a run that does not fit."""

from __future__ import annotations

import shlex

from eva.capacity.machines import GB
from eva.capacity.plan import Plan
from eva.capacity.stage_times import StageTime
from eva.errors import ModelError


def verdict(plan: Plan, gpu_hour_usd: float | None = None) -> list[str]:
    """What someone wants to know first: whether it fits, how long it takes, what it costs."""
    if plan.problems:
        return [f"This run does not fit: {problem.what}" for problem in plan.problems] + [_advice(plan)]
    each, whole = minutes(plan.iteration_s), minutes(plan.total_s)
    lines = [
        f"This run fits {plan.machines}: about {each} an iteration, {whole} in all, by arithmetic",
        "an iteration: " + ", ".join(map(_time, plan.stages)),
    ]
    gpus = plan.machines.gpus
    if gpus and any(stage.gpus for stage in plan.stages):
        hours, idle = gpus * plan.total_s / 3600, plan.idle / max(1e-9, gpus * plan.iteration_s)
        price = "" if gpu_hour_usd is None else f", ${hours * gpu_hour_usd:,.0f} at ${gpu_hour_usd:g} each"
        lines.append(f"GPUs: {gpus} for {hours:,.1f} GPU-hours in all{price}; {idle:.0%} of them idle")
    taken = 0.0 if plan.machines.free_gpus is None else gpus - plan.machines.free_gpus
    if taken > 0:
        lines.append(f"{taken:g} of the {gpus} GPUs are in use now: the run waits for them, for at most fleet.start_s")
    lines.append(f"disk for checkpoints: {plan.disk / GB:,.2f} GB" if plan.disk < 1e10 else _disk(plan))
    if plan.records:
        lines.append(f"disk for token records: {plan.records / GB:,.2f} GB (rollouts.keep says which stay)")
    return lines


def arithmetic(plan: Plan) -> list[str]:
    """How the figures come about: memory by role, seconds by stage."""
    lines = [
        f"memory, {role.count} x {role.name}{_on(role.gpus)}: {role.need}" + _of(role.limit, role.need.total)
        for role in plan.roles
    ]
    if plan.host:
        lines.append(f"main memory of the machine that loads the policy: {plan.host / GB:.0f} GB")
    return lines + [f"time, {stage.name}: {stage.arithmetic} = {minutes(stage.seconds)}" for stage in plan.stages]


def refusal(plan: Plan) -> ModelError | None:
    """The error for a run that does not fit, None for one that does."""
    if not plan.problems:
        return None
    first, *others = [problem.what for problem in plan.problems]
    return ModelError(
        "This run does not fit: " + "; ".join((first, *others)),
        expected="machines and a config that go together, by the arithmetic of docs/scale.md",
        next_move=_advice(plan),
    )


def minutes(seconds: float) -> str:
    """A time as a person says it: 40 s, 12 min, 2.6 h, 3.1 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 120 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"


def _advice(plan: Plan) -> str:
    if plan.change is not None:
        return "The smallest change that fits: " + " ".join(f"--set {shlex.quote(each)}" for each in plan.change)
    if not plan.roles:
        return (
            "Play it where there are GPUs, or choose a smaller model; --dry-run --gpus 8x80 shows what it needs there"
        )
    needed = ", ".join(sorted({f"{role.name} {role.need.total / GB:.0f} GB" for role in plan.roles}))
    return f"No change of a few keys makes it fit. On each GPU it needs: {needed}; use other GPUs or a smaller model"


def _time(stage: StageTime) -> str:
    hidden = f" (and {minutes(stage.hidden)} during the training)" if stage.hidden else ""
    return f"{stage.name} {minutes(stage.seconds)}{hidden}"


def _disk(plan: Plan) -> str:
    return f"disk for checkpoints: {plan.disk / GB:,.0f} GB (checkpoints.keep says which stay)"


def _on(gpus: float) -> str:
    return "" if gpus == 1 else f" on {gpus:g} of a GPU" if gpus < 1 else f" on {gpus:g} GPUs"


def _of(limit: float | None, need: float) -> str:
    return "" if limit is None else f", of {limit / GB:.0f} GB" + ("" if need <= limit else ": too much")
