from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from store.schema import tables
from store.views import exports
from store.views.exports import COLUMNS
from tests.support.cli_fixtures import Command, Played
from tests.support.played_run import play_run, playground_config


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def count(played: Played, table: str) -> int:
    with played.store.transaction() as conn:
        return conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608 - a name of this file


@pytest.mark.parametrize("what", ["pairs", "prompts", "responses"])
def test_both_formats_hold_every_row(played: Played, tmp_path: Path, what: str) -> None:
    for form in ("jsonl", "parquet"):
        shown = played.eva("export", "last", "--what", what, "--format", form, "--out", tmp_path / form)
        assert shown.exit_code == 0, shown.stderr
        assert f"Wrote {count(played, what):,} {what} of {played.name} to" in shown.stderr
    rows = jsonl(tmp_path / "jsonl")
    table: Any = pq.read_table(tmp_path / "parquet")
    assert table.to_pylist() == rows
    assert tuple(table.column_names) == COLUMNS[what]
    assert tuple(rows[0]) == COLUMNS[what]
    assert len(rows) == count(played, what)


def test_prompts_carry_their_lineage(played: Played, tmp_path: Path) -> None:
    played.eva("export", "last", "--what", "prompts", "--out", tmp_path / "out")
    rows = jsonl(tmp_path / "out")
    assert [row["number"] for row in rows] == list(range(len(rows)))
    for row in rows:
        if row["parent"] is not None:
            parent = rows[row["parent"]]
            assert (row["root"], row["depth"]) == (parent["root"], parent["depth"] + 1)
            assert row["operator"]


def test_pairs_are_a_preference_dataset_of_the_best_against_the_worst(played: Played, tmp_path: Path) -> None:
    for form in ("json", "parquet"):
        out = tmp_path / f"pairs.{form}"
        played.eva("export", "last", "--what", "pairs", "--format", form.replace("json", "jsonl"), "--out", out)
        pairs: Any = datasets.load_dataset(form, data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
        assert pairs.column_names[:3] == ["prompt", "chosen", "rejected"]
        for row in pairs:
            assert row["margin"] == pytest.approx(row["chosen_reward"] - row["rejected_reward"])
            assert row["margin"] > 0
            assert row["chosen"] != row["rejected"]


def test_without_a_name_the_file_is_named_after_the_run(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert played.eva("export", "last", "--what", "prompts", "--format", "parquet").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"{played.name}-prompts.parquet"]


def test_a_dash_is_standard_output(played: Played) -> None:
    shown = played.eva("export", "last", "--what", "prompts", "--out", "-")
    assert shown.exit_code == 0
    assert shown.stderr == ""
    assert len(shown.stdout.splitlines()) == count(played, "prompts")


@pytest.mark.parametrize("where", ["missing/out", "file/out"])
def test_a_target_that_cannot_be_written_is_an_input_error(played: Played, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    shown = played.eva("export", "last", "--what", "pairs", "--out", tmp_path / where)
    assert shown.exit_code == 2
    assert f"{where} cannot be written" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_full_disk_leaves_nothing_half_written(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        del descriptor
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    shown = played.eva("export", "last", "--what", "pairs", "--out", tmp_path / "out")
    assert shown.exit_code == 4
    assert "no space is left for" in shown.stderr
    assert [*tmp_path.iterdir()] == []


def test_a_reader_that_leaves_early_ends_the_export_quietly(played: Played) -> None:
    environment = os.environ | {"EVA_DATABASE_URL": played.settings.database_url or ""}
    command = [sys.executable, "-m", "cli.main", "export", "last", "--what", "responses", "--out", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr.read() == b""


def test_rows_stream_through_a_server_side_cursor(played: Played) -> None:
    with played.store.transaction() as conn:
        rows = exports.iter_responses(conn, played.run_id)
        next(rows)
        cursors = conn.execute(text("SELECT count(*) FROM pg_cursors")).scalar_one()
        rows.close()  # pyright: ignore[reportAttributeAccessIssue] - a generator
    assert cursors == 1


def test_hostile_texts_come_back_as_they_were(store: Any, store_settings: Any, eva: Command, tmp_path: Path) -> None:
    play_run(store, store_settings, playground_config("iterations=1", "prompts.playground=8"))
    hostile = 'a "quote",\r\nline \x1b[31m \u2028 日本語 ' + "x" * 10_000
    with store.transaction() as conn:
        conn.execute(tables.prompts.update().values(text=hostile))
    for form in ("jsonl", "parquet"):
        eva("export", "last", "--what", "prompts", "--format", form, "--out", tmp_path / form)
    table: Any = pq.read_table(tmp_path / "parquet")
    with (tmp_path / "jsonl").open(encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in lines]
    assert {row["prompt"] for row in rows} == {row["prompt"] for row in table.to_pylist()} == {hostile}


def test_rollouts_are_taken_away_as_the_reference_says(
    store: Any, store_settings: Any, eva: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run = play_run(
        store, store_settings, playground_config("iterations=2", "prompts.playground=8", "rollouts.keep=all")
    )
    page = (Path(__file__).parents[3] / "docs/reference/rollouts.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    command = re.findall(r"^    eva (export .*)$", page, re.MULTILINE)[0]
    assert eva(*command.split()).exit_code == 0
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], {})  # noqa: S102 - an example of the page
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["0", "1"]

    table: Any = pq.read_table("rollouts.parquet")
    assert [str(table.schema.field(name).type) for name in ("prompt_ids", "token_ids", "logprobs")] == [
        "list<element: int32>",
        "list<element: int32>",
        "list<element: float>",
    ]
    documented = re.findall(r"^\| (`.*?) \|", page.partition("| column | is |")[2], re.MULTILINE)
    assert {*table.column_names, "messages"} == {*re.findall(r"`([a-z_]+)`", " ".join(documented[:6]))}
    rows = table.to_pylist()
    assert tuple(rows[0]) == COLUMNS["rollouts"]
    eva("export", "last", "--what", "responses", "--out", "responses.jsonl")
    stored = {(row["number"], row["checkpoint"], row["sample"]): row for row in jsonl(Path("responses.jsonl"))}
    assert {(row["number"], row["policy"], row["sample"]) for row in rows} == stored.keys()
    for row in rows:
        of_store = stored[row["number"], row["policy"], row["sample"]]
        assert (row["prompt"], row["response"], row["reward"]) == (
            *(of_store["prompt"], of_store["response"], of_store["reward"]),
        )
        assert len(row["token_ids"]) == len(row["logprobs"]) == of_store["tokens"] and row["step"] == 0
    (first, *_) = (store_settings.runs_dir / run.folder_name / "tokens").rglob("*.parquet")
    first.write_bytes(b"")
    refused = eva("export", "last", "--what", "rollouts", "--out", "again")
    assert refused.exit_code == 4 and "are damaged" in refused.stderr and f"eva fork {run.name} --at" in refused.stderr
    assert not Path("again").exists()


def test_a_run_without_records_has_no_rollouts(played: Played, tmp_path: Path) -> None:
    refused = played.eva("export", "last", "--what", "rollouts", "--out", tmp_path / "out")
    assert refused.exit_code == 2 and f"run {played.name} has no token records. Expected" in refused.stderr
    assert [*tmp_path.iterdir()] == []


def test_trl_takes_the_pairs_unchanged(played: Played, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.support.tiny_models import llama

    out = tmp_path / "pairs.jsonl"
    played.eva("export", "last", "--what", "pairs", "--out", out)
    pairs: Any = datasets.load_dataset("json", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    folder = llama(tmp_path / "model")
    trl: Any = import_module("trl")
    arguments = trl.DPOConfig(
        output_dir=str(tmp_path / "trained"),
        max_steps=1,
        per_device_train_batch_size=4,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    trainer = trl.DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        args=arguments,
        train_dataset=pairs,
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    assert len(trainer.train_dataset) == len(pairs)
    assert trainer.train().training_loss == pytest.approx(0.6931, abs=1e-3)
