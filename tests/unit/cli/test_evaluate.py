"""`eva evaluate`: figures from annotation files, and errors about files of another kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import eva


def call(*arguments: object) -> Result:
    return CliRunner().invoke(eva, ["evaluate", *map(str, arguments)])


def annotation(model: str, preference: float | None, place: int) -> dict[str, Any]:
    return {
        "instruction": f"i{place}",
        "generator_1": "base",
        "generator_2": model,
        "preference": preference,
        "output_1": "x" * (40 + place),
        "output_2": "y" * (30 + 3 * place),
    }


def alpaca_file(folder: Path, model: str, preferences: list[float | None]) -> Path:
    path = folder / f"{model}.json"
    path.write_text(json.dumps([annotation(model, preference, place) for place, preference in enumerate(preferences)]))
    return path


def arena_file(folder: Path, model: str, *games: tuple[str | None, str | None]) -> Path:
    path = folder / f"{model}.jsonl"
    path.write_text(
        "".join(json.dumps({"model": model, "games": [{"score": score} for score in pair]}) + "\n" for pair in games)
    )
    return path


def test_each_model_in_alpacas_annotations_gets_a_row_best_first(tmp_path: Path) -> None:
    files = [
        alpaca_file(tmp_path, "weak", [1, 1, 1, 1.5, 1, 2, 1, 1]),
        alpaca_file(tmp_path, "strong", [2, 2, 2, 1.5, 1, 2, None, 2]),
    ]
    called = call("--annotations", files[0], "--annotations", files[1], "--json")
    assert called.exit_code == 0, called.output
    strong, weak = json.loads(called.stdout)
    assert (strong["model"], strong["n_wins"], strong["n_draws"], strong["n_total"]) == ("strong", 5, 1, 7)
    assert strong["win_rate"] == pytest.approx(100 * 5.5 / 7) and weak["win_rate"] == pytest.approx(100 * 1.5 / 8)
    shown = call("--annotations", files[1])
    assert "strong" in shown.stdout and "78.57" in shown.stdout and "--gamed" in shown.stderr


def test_alpacas_difficulties_and_gamed_rows_enter_the_fit(tmp_path: Path) -> None:
    file = alpaca_file(tmp_path, "m", [1.9 if place % 8 > 3 else 1.1 for place in range(160)])
    gamed = tmp_path / "df_gamed.csv"
    rows = [f"{place},m,0.5,{place / 80 - 1},{place % 8 - 3.5},False" for place in range(160)]
    rows.append("0,m,,0.1,-3.5,False")
    header = "index,model,preference,std_delta_len,instruction_difficulty,not_gamed_baseline"
    gamed.write_text("\n".join([header, *rows]))
    alone, held = (
        json.loads(call("--annotations", file, "--json", *more).stdout)[0] for more in ([], ["--gamed", gamed])
    )
    assert alone["win_rate"] == held["win_rate"] == pytest.approx(50)
    # only a fit that knows the difficulties predicts different instructions differently
    assert alone["lc_standard_error"] == pytest.approx(0) and held["lc_standard_error"] > 2
    gamed.write_text("index,model\n0,m\n")
    refused = call("--annotations", file, "--gamed", gamed)
    assert (
        refused.exit_code == 2 and "line 2 of" in refused.stderr and "no number in column preference" in refused.stderr
    )


def test_arena_judgments_give_scores_against_the_versions_baseline(tmp_path: Path) -> None:
    file = arena_file(tmp_path, "mine", ("A<B", "A>B"), ("A>B", "B>A"), ("A=B", None), ("B>A", "A>B"))
    called = call("--annotations", file, "--json")
    assert called.exit_code == 0, called.output
    by_model = {row["model"]: row for row in json.loads(called.stdout)}
    assert by_model["gpt-4-0314"]["score"] == 50 and by_model["mine"]["battles"] == 7
    assert by_model["mine"]["score"] == pytest.approx(100 * 4.5 / 7, abs=1e-3)
    shown = call("--annotations", file)
    assert "without a verdict, left out: 1." in shown.stderr
    newer = json.loads(call("--annotations", file, "--version", "2.0", "--json").stdout)
    assert {row["model"]: row["battles"] for row in newer} == {"mine": 6, "o3-mini-2025-01-31": 6}


def test_arena_2_with_answers_is_scored_at_equal_style(tmp_path: Path) -> None:
    judged, answers = tmp_path / "judged.jsonl", tmp_path / "answers.jsonl"
    # two models; the judge takes whatever is longer than the baseline's 100 tokens
    lengths = {
        name: [100 + 10 * ((step * place) % 9 - shift) for place in range(60)]
        for name, step, shift in (("short", 2, 5), ("long", 5, 2))
    }
    judged.write_text(
        "".join(
            json.dumps(
                {
                    "model": name,
                    "uid": f"q{place}",
                    "games": [{"score": verdict}, {"score": {"A>B": "B>A", "B>A": "A>B", "A=B": "A=B"}[verdict]}],
                }
            )
            + "\n"
            for name, some in lengths.items()
            for place, length in enumerate(some)
            for verdict in [
                "B>A" if length > 100 + place % 3 * 10 else "A>B" if length < 100 + place % 5 * 10 else "A=B"
            ]
        )
    )
    answers.write_text(
        "".join(
            json.dumps(
                {
                    "model": name,
                    "uid": f"q{place}",
                    "metadata": {
                        "token_len": length,
                        "header_count": {"h1": 0},
                        "list_count": {"ordered": 0},
                        "bold_count": {"**": 0},
                    },
                }
            )
            + "\n"
            for name, some in {**lengths, "o3-mini-2025-01-31": [100] * 60}.items()
            for place, length in enumerate(some)
        )
    )
    plain, styled = (
        json.loads(call("--annotations", judged, "--version", "2.0", "--json", *more).stdout)
        for more in ([], ["--answers", answers])
    )
    scores = [{row["model"]: row["score"] for row in rows} for rows in (plain, styled)]
    gaps = [by_model["long"] - by_model["short"] for by_model in scores]
    assert gaps[0] > 20 and abs(gaps[1]) < gaps[0] / 2
    shown = call("--annotations", judged, "--version", "2.0", "--answers", answers)
    assert "Style-controlled. Coefficients: length +" in shown.stderr and "bold +0.000" in shown.stderr
    for more, said in (
        (["--answers", answers], "--answers with --version 0.1"),
        (["--version", "2.0", "--answers", judged], "answer 0 has the keys"),
        (["--version", "2.0", "--answers", answers, "--baseline", "x"], "no answer of x to question"),
    ):
        refused = call("--annotations", judged, *more)
        assert refused.exit_code == 2 and said in refused.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[{"prompt": "x"}]',
            "has the keys prompt. Expected `preference` (AlpacaEval) or `games` (Arena-Hard)",
        ),
        ("[3]", "element 1 of"),
        ("[]", "has the keys (none)"),
        ("[", "is not valid JSON"),
        ('[{"preference": 2}]', "annotation 0 has no output_1, output_2"),
    ],
)
def test_a_file_without_annotations_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(text)
    called = call("--annotations", path)
    assert called.exit_code == 2 and said in called.stderr


def test_too_few_annotations_have_no_length_controlled_figure_but_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps([{"preference": 2, "output_1": "a", "output_2": "bb", "generator_2": "mine"}] * 99))
    (row,) = json.loads(call("--annotations", path, "--json").stdout)
    assert row["length_controlled_winrate"] is row["lc_standard_error"] is None and row["win_rate"] == 100
    shown = call("--annotations", path)
    assert "99 preferences are too few for a fit: at least 100 are needed" in " ".join(shown.output.split())


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    called = call("--annotations", tmp_path / "none.json")
    assert called.exit_code == 2 and "there is no file" in called.stderr
