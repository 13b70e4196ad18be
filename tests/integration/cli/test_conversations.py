"""A run of conversations on the command line: lineage and report show them, exports load into TRL as they were."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import pytest

from eva.prompts.files import read_prompt_file
from eva.settings import Settings
from store.game import prompts
from store.game.pairs import iter_pairs_with_texts
from store.rows import RunRow
from store.session import Store
from tests.support import tiny_models
from tests.support.cli_fixtures import Command
from tests.support.fakes import always, fake_config, fake_roles
from tests.support.played_run import play_run
from workers.models.chat_template import PromptEncoder, Prompting
from workers.training.rows import encode

ENDING = {"jsonl": "json", "parquet": "parquet"}


@pytest.fixture
def run(store: Store, store_settings: Settings, tmp_path: Path) -> RunRow:
    rows: list[dict[str, Any]] = [
        {
            "messages": [
                {"role": "system", "content": "Be a \x1b[31mriver\x1b[0m guide."},
                {"role": "user", "content": f"Name river {number}."},
                {"role": "assistant", "content": f"River {number}."},
                {"role": "user", "content": f"Where is its source, guide {number}?"},
            ]
        }
        for number in range(12)
    ]
    rows += [{"prompt": f"A plain question about lake {number}?"} for number in range(6)]
    seeds, held = tmp_path / "seeds.jsonl", tmp_path / "held.jsonl"
    seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    turns = [("user", "Hello."), ("assistant", "Hi."), ("user", "Held out?")]
    held.write_text(json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}) + "\n")
    config = fake_config(
        prompts={"path": str(seeds)},
        evaluation={"sets": {"talk": str(held)}},
        iterations=2,
        rollouts={"keep": "all"},
    )
    return play_run(store, store_settings, config, build=always(fake_roles()))


def exported(eva: Command, run: RunRow, what: str, form: str, folder: Path) -> Any:
    out = folder / f"{what}.{form}"
    shown = eva("export", run.name, "--what", what, "--format", form, "--out", out)
    assert shown.exit_code == 0, shown.stderr
    return datasets.load_dataset(ENDING[form], data_files=str(out), split="train", cache_dir=str(folder / "cache"))


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_pairs_are_trls_conversational_format_and_render_as_the_prompts_were_asked(
    eva: Command, store: Store, run: RunRow, form: str, tmp_path: Path
) -> None:
    from trl.data_utils import is_conversational, maybe_apply_chat_template

    pairs = exported(eva, run, "pairs", form, tmp_path)
    encoder = PromptEncoder(str(tiny_models.llama(tmp_path / "model")), Prompting())
    with store.transaction() as conn:
        family = {prompt.number: prompt for prompt in prompts.read_prompts(conn, run.id)}
    assert {len(row["prompt"]) for row in pairs} == {1, 4}
    for row in pairs:
        prompt = family[row["number"]]
        assert is_conversational(row)
        rendered = maybe_apply_chat_template(
            {key: row[key] for key in ("prompt", "chosen", "rejected")}, encoder.tokenizer
        )
        assert rendered["prompt"] == encoder.render(prompt.text, prompt.context)
        assert [message["role"] for message in row["chosen"]] == ["assistant"]
        assert row["chosen"] != row["rejected"]


@pytest.mark.parametrize(
    "model", [{}, {"system_prompt": "Be brief."}, {"template": "none"}], ids=["chat", "system", "none"]
)
def test_trl_trains_on_the_text_that_eva_trained_on(
    eva: Command, store: Store, store_settings: Settings, model: dict[str, str], tmp_path: Path
) -> None:
    from trl.data_utils import maybe_apply_chat_template

    config = fake_config(model={"path": "fake/model", **model}, iterations=1)
    run = play_run(store, store_settings, config, build=always(fake_roles()))
    folder = str(tiny_models.llama(tmp_path / "model"))
    encoder = PromptEncoder(folder, Prompting(config.model.template, None, config.model.system_prompt))
    with store.transaction() as conn:
        trained = list(iter_pairs_with_texts(conn, run.id, 0))
    pairs = exported(eva, run, "pairs", "jsonl", tmp_path)
    assert len(pairs) == len(trained) > 0
    for row, pair in zip(pairs, trained, strict=True):
        read = maybe_apply_chat_template({key: row[key] for key in ("prompt", "chosen", "rejected")}, encoder.tokenizer)
        end = encoder.tokenizer.eos_token_id
        (ids,) = encode([asdict(pair)], encoder, max_length=10**6, end=end).rows
        for side in ("chosen", "rejected"):
            text = encoder.tokenizer.decode([*ids["prompt_ids"], *ids[f"{side}_ids"]])
            assert bare(read["prompt"] + read[side]) == bare(text)
    assert ("Be brief." in str(pairs[0]["prompt"])) == ("system_prompt" in model)


def bare(text: str) -> str:
    """A text without the tokens around it, which TRL's tokenizer adds where the template does not write them."""
    return text.removeprefix(tiny_models.BOS).removesuffix(tiny_models.EOS)


@pytest.mark.parametrize("what", ["prompts", "responses", "rollouts"])
def test_prompts_responses_and_rollouts_carry_the_messages_beside_the_text(
    eva: Command, run: RunRow, what: str, tmp_path: Path
) -> None:
    rows = [exported(eva, run, what, form, tmp_path).to_list() for form in ENDING]
    assert rows[0] == rows[1]
    for row in rows[0]:
        assert row["messages"][-1] == {"role": "user", "content": row["prompt"]}
    assert {len(row["messages"]) for row in rows[0]} == {1, 4}


def test_exported_prompts_are_seed_prompts_of_another_run(
    eva: Command, store: Store, run: RunRow, tmp_path: Path
) -> None:
    exported(eva, run, "prompts", "jsonl", tmp_path)
    found = read_prompt_file(tmp_path / "prompts.jsonl", field="messages").prompts
    with store.transaction() as conn:
        family = prompts.read_prompts(conn, run.id)
    assert [(prompt.text, prompt.context) for prompt in found] == [(prompt.text, prompt.context) for prompt in family]


def test_lineage_and_report_show_what_stands_before_a_prompt(eva: Command, store: Store, run: RunRow) -> None:
    with store.transaction() as conn:
        child = next(prompt for prompt in prompts.read_prompts(conn, run.id) if prompt.depth and prompt.context)
    facts = json.loads(eva("lineage", run.name, str(child.number), "--json").stdout)
    assert facts["context"] == [{"role": message.role, "content": message.content} for message in child.context]
    tree = eva("lineage", run.name, str(child.number)).stdout
    assert tree.startswith("system: Be a ␛[31mriver") and "· user: Name river" in tree.splitlines()[0]
    report = eva("show", run.name).stdout
    assert "user: Hello. · assistant: Hi." in report and "Held out?" in report
    plain = json.loads(eva("lineage", run.name, "12", "--json").stdout)
    assert plain["context"] == [] and "system:" not in eva("lineage", run.name, "12").stdout
