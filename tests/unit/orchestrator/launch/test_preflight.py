"""The checks before a run find what the run itself would, say so in a sentence, and start no engine."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from eva.capacity.machines import Machines, Node, parse_machines
from eva.config import RunConfig
from eva.config.files import validate
from eva.errors import ConfigError, EvaError, ModelError
from orchestrator.launch.preflight import check_run
from store.schema.tables import runs
from store.session import Store
from tests.support import tiny_models
from tests.support.cli_fixtures import Command
from workers.cluster.machines import machines_of_cluster, visible_gpus

HERE = Machines((Node(0),), None, "here")
KEY = "EVA_TEST_EVOLVER_KEY"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be spoiled."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def config(folder: Path, **sections: Any) -> RunConfig:
    values: dict[str, Any] = {
        "iterations": 2,
        "prompts": {"playground": 24},
        "model": {"path": str(folder)},
        "generation": {"n": 4, "max_tokens": 32},
        "reward": {"kind": "mock"},
        "evolving": {"evolver": {"kind": "playground"}},
    }
    return validate(values | sections)


def refused(run: RunConfig, machines: Machines | None = None, *, offline: bool = False) -> EvaError:
    with pytest.raises((ModelError, ConfigError)) as caught:
        check_run(run, machines, offline=offline)
    assert caught.value.next_move, "every refusal has advice"
    return caught.value


def edit(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in (content | values).items() if value is not None}))


def with_template(folder: Path, template: str) -> Path:
    (folder / "chat_template.jinja").write_text(template)
    return folder


def test_a_config_that_can_play_passes(tiny: Path) -> None:
    checked = check_run(config(tiny, model={"path": str(tiny), "system_prompt": "Be brief."}), HERE)
    assert checked.plan is not None and not checked.plan.problems and checked.plan.total_s > 0


PARTS = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('only tools') }}", "refuses an ordinary prompt: .*only tools"),
        ("Hello.", "leaves out the user's text: it renders every prompt alike"),
        (PARTS, "leaves out the user's text"),
        ("{{ messages[0].content | upper }}", "leaves out the user's text"),
    ],
)
def test_a_template_that_refuses_or_drops_the_users_text_is_refused(copy: Path, template: str, said: str) -> None:
    error = refused(config(with_template(copy, template)))
    assert re.search(said, str(error)), error
    assert "chat_template" in error.next_move


def test_a_system_prompt_needs_a_template_that_renders_it(copy: Path) -> None:
    dropping = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    model = {"path": str(with_template(copy, dropping)), "system_prompt": "Be brief."}
    assert "leaves out the system message" in str(refused(config(copy, model=model)))
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + dropping
    with_template(copy, strict)
    assert "no system role" in str(refused(config(copy, model=model)))
    assert check_run(config(copy)), "without a system prompt the same template is fine"


def test_a_tokenizer_without_eos_is_refused_before_anything_is_generated(copy: Path) -> None:
    edit(copy / "tokenizer_config.json", eos_token=None)
    for name in ("special_tokens_map.json", "generation_config.json"):
        (copy / name).unlink(missing_ok=True)
    assert "has no EOS token" in str(refused(config(copy)))


def test_more_tokens_than_the_context_are_refused(tiny: Path) -> None:
    error = refused(config(tiny, generation={"n": 4, "max_tokens": 256}))
    assert "generation.max_tokens 256" in str(error) and "256 tokens that the model has" in str(error)
    shorter = config(tiny, generation={"n": 4, "max_tokens": 64}, fleet={"max_model_len": 64})
    assert "64 tokens (fleet.max_model_len)" in str(refused(shorter))


def test_low_rank_adapters_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "Qwen/Qwen2.5-1.5B"}))
    error = refused(config(tmp_path))
    assert "holds low-rank adapters" in error.given and "merge_and_unload" in error.next_move
    assert "Qwen/Qwen2.5-1.5B" in error.next_move


@pytest.mark.parametrize(("gpus", "said"), [(0, "on a CPU"), (1, "on a GPU")])
def test_heads_that_the_engine_has_no_kernel_for_are_refused(copy: Path, gpus: float, said: str) -> None:
    edit(copy / "config.json", head_dim=36)
    error = refused(config(copy, fleet={"gpus_per_engine": gpus}))
    assert "attention heads of size 36" in error.given and said in error.given


def test_gpus_are_refused_where_there_are_none(tiny: Path) -> None:
    error = refused(config(tiny, fleet={"gpus_per_engine": 1}), HERE)
    assert "fleet.gpus_per_engine ask for GPUs, and there is none: this machine" in error.given
    assert "--set fleet.gpus_per_engine=0" in error.next_move
    assert check_run(config(tiny, fleet={"gpus_per_engine": 1}), parse_machines("1x24")), "elsewhere it can be planned"


def test_a_reward_model_without_a_chat_template_is_refused(tiny: Path, tmp_path: Path) -> None:
    bare = tiny_models.llama(tmp_path / "bare", chat_template=False)
    edit(bare / "config.json", architectures=["LlamaForSequenceClassification"], id2label={"0": "reward"})
    reward = {"kind": "pointwise", "model": str(bare)}
    error = refused(config(tiny, reward=reward))
    assert error.given.startswith("reward: the tokenizer in") and "reward.template: pair" in error.next_move
    judged = {"kind": "ensemble", "on": "rank", "members": [{"reward": reward}, {"reward": {"kind": "mock"}}]}
    assert "reward.members.0.reward:" in refused(config(tiny, reward=judged)).given


def evolver(**settings: Any) -> dict[str, Any]:
    return {"evolver": {"kind": "evol_instruct", "model": "openai/m"} | settings}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "gpt-nobody-knows"}, "no provider for model 'gpt-nobody-knows'"),
        ({}, "OPENAI_API_KEY is not set"),
        ({"api_key_env": KEY}, KEY),
        ({"api_base": "localhost:8000"}, "evolving.evolver.api_base is 'localhost:8000'"),
        ({"api_base": "http://127.0.0.1:1/v1"}, "does not answer within 10 s: .*refused"),
    ],
)
def test_an_evolver_that_cannot_be_reached_is_refused(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], said: str
) -> None:
    for name in ("OPENAI_API_KEY", KEY):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=said):
        check_run(config(tiny, evolving=evolver(**settings)))


class Models(BaseHTTPRequestHandler):
    """A server that knows one key, and nothing else."""

    def do_GET(self) -> None:
        known = self.path == "/v1/models" and self.headers["Authorization"] == "Bearer right"
        self.send_response(404 if known else 401)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        del format, args


@pytest.fixture
def server() -> Iterator[str]:
    http = HTTPServer(("127.0.0.1", 0), Models)
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/v1"
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_server_is_asked_whether_it_takes_the_key_and_offline_it_is_not(
    tiny: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config(tiny, evolving=evolver(api_base=server, api_key_env=KEY))
    monkeypatch.setenv(KEY, "right")
    assert f"evolving.evolver: {server} answers" in check_run(run).checks, "any answer but a refused key will do"
    monkeypatch.setenv(KEY, "wrong")
    error = refused(run)
    assert f"{server} refuses the key" in error.given and "right" not in str(error) and "wrong" not in str(error)
    assert any("was not asked" in line for line in check_run(run, offline=True).checks)
    secret = server.replace("http://", "http://someone:pa55@")
    error = refused(config(tiny, evolving=evolver(api_base=secret)))
    assert "refuses the key" in error.given and "pa55" not in str(error)
    judge = {"kind": "judge", "model": "openai/m", "api_base": server, "api_key_env": KEY}
    assert "reward.api_base" in refused(config(tiny, reward=judge)).given


def test_a_refused_config_makes_no_run_and_the_dry_run_says_it_first(
    eva: Command, store: Store, tiny: Path, tmp_path: Path, no_gpus: None
) -> None:
    del no_gpus
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(config(tiny, fleet={"gpus_per_engine": 1}).model_dump(mode="json")))
    assert eva("run", file).exit_code == 2
    with store.transaction() as conn:
        assert not conn.execute(runs.select()).all()
    dry = eva("run", file, "--dry-run")
    assert dry.exit_code == 2 and dry.stdout.startswith("# This run does not fit: fleet.gpus_per_engine ask for GPUs")
    assert "gpus_per_engine: 1.0" in dry.stdout, "the config follows"
    other = eva("run", file, "--dry-run", "--gpus", "1x24", "--set", f"evaluation.sets.mine={tmp_path}/nowhere.jsonl")
    assert other.exit_code == 2 and other.stdout.startswith("# This run would be refused: ")
    assert "This run fits" not in other.stdout, "one verdict"
    told = eva("run", file, "--dry-run", "--gpus", "1x24", "--arithmetic", "--gpu-hour-usd", "2")
    assert told.exit_code == 0 and told.stdout.startswith("# This run fits these machines (1 x like A10, 24 GB)")
    assert "# memory, 1 x engine: vLLM 3.0" in told.stdout and "at $2 each" in told.stdout
    assert eva("run", file, "--gpus", "1x24").exit_code == 2, "a plan for other machines is for a dry run"
    checked = eva("doctor", file, "--gpus", "1x24")
    assert checked.exit_code == 0 and "This config can be played." in checked.stdout
    assert eva("doctor", file).exit_code == 1


@pytest.fixture
def no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_gpus_are_those_that_the_driver_lists_and_the_environment_shows() -> None:
    lines = "NVIDIA H100 80GB HBM3, 81559\nNVIDIA H100 80GB HBM3, 81559\n"
    assert [gpu.memory for gpu in visible_gpus(lines, None)] == [81559 * 2**20] * 2
    assert len(visible_gpus(lines, "1")) == 1 and not visible_gpus(lines, "") and not visible_gpus(lines, "-1")
    assert not visible_gpus("No devices were found\n", None)


def test_a_cluster_is_counted_by_its_live_nodes() -> None:
    def node(gpus: float, kind: str, *, alive: bool = True) -> dict[str, Any]:
        resources = {"GPU": gpus, "CPU": 32.0, "memory": 5e11, f"accelerator_type:{kind}": 1.0}
        return {"Alive": alive, "Resources": resources}

    found = machines_of_cluster([node(8, "H100"), node(8, "H100"), node(8, "H100", alive=False), node(0, "L4")])
    assert (found.gpus, len(found.nodes), found.nodes[0].host_memory) == (16, 3, 500_000_000_000)
    half = machines_of_cluster([node(8, "A100-80G")])
    assert half.gpu is not None and half.gpu.memory == 80 * 10**9 and half.gpu.bandwidth == pytest.approx(2.04e12)
    assert machines_of_cluster([{"Alive": True, "Resources": {"CPU": 4.0}}]).gpu is None
