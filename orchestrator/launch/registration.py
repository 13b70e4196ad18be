"""Storing a new run: its row, its seed prompts and its held-out prompts, in one transaction."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.config.files import config_hash
from eva.prompts.files import FilePrompt
from eva.types import Prompt
from orchestrator.launch.code_identity import code_identity
from orchestrator.launch.material import Material, read_material
from store.game import comparisons, heldout, prompts
from store.rows import RunRow
from store.runs import events, runs
from store.session import Store
from store.webhooks.webhooks import require_webhooks


def register_run(
    store: Store,
    config: RunConfig,
    material: Material | None = None,
    *,
    note: str = "",
    tags: tuple[str, ...] = (),
    then: Callable[[Connection, RunRow], None] | None = None,
) -> RunRow:
    """Stores a new run with its prompts, ready for a driver, and calls `then` in the same transaction.

    `material`: the config's prompts where they have been read already. Without it they are read here, which raises
    PromptFileError. Raises as `create_row` does.
    """
    material = material or read_material(config)
    with store.transaction() as conn:
        run = create_row(conn, config, note=note, tags=tags)
        prompts.insert_prompts(conn, run.id, [_seed(number, prompt) for number, prompt in enumerate(material.seeds)])
        for held_out in material.turns:
            heldout.insert_heldout(conn, run.id, held_out)
        for split, answers in material.baselines.items():
            comparisons.insert_baseline(conn, run.id, split, answers.texts)
        events.append_event(
            conn,
            run.id,
            "registered",
            {
                "prompts": len(material.seeds),
                "left_out": material.left_out,
                **({"cut": dict(material.cut)} if material.cut else {}),
            },
        )
        if then is not None:
            then(conn, run)
        return runs.get_run(conn, run.id)


def create_row(conn: Connection, config: RunConfig, *, note: str, tags: tuple[str, ...]) -> RunRow:
    """Stores a run's row. Raises InputError if the config names a webhook that does not exist."""
    require_webhooks(conn, config.webhooks)
    return runs.create_run(
        conn,
        stem=config.name,
        config=config.model_dump(mode="json"),
        note=note,
        tags=tags,
        config_hash=config_hash(config),
        seed=config.seed,
        code=code_identity(config),
    )


def _seed(number: int, prompt: FilePrompt) -> Prompt:
    return Prompt(
        number, prompt.text, root=number, topic=prompt.topic, context=prompt.context, reference=prompt.reference
    )
