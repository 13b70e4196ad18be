"""A run on a cluster of two machines that share no disk: its checkpoints are in an emulated S3.

    EVA_DATABASE_URL=… EVA_ASKED=FILE PYTHONPATH=…/modelless python -m tests.support.faults.stored_run FOLDER

Each machine has a cache of its own and no credentials: the driver hands them on. An engine of each machine (without a
model) answers, and a real trainer trains. Prints where everything went, and what was downloaded.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import boto3
import ray
from moto.server import ThreadedMotoServer
from ray.cluster_utils import Cluster

from eva.config.files import load_config
from eva.settings import Settings
from eva.storage.stored_manifests import stored_damage
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import checkpoints
from store.runs import runs
from store.session import open_store
from tests.support.fakes import Recorder
from workers.cluster.connection import start_patiently

CONFIG = (
    *("prompts.playground=24", "iterations=1", "generation.n=4", "generation.max_tokens=16", "evaluation.playground=4"),
    *("evaluation.when=each", "reward={kind: mock}", "training.batch=8", "fleet.engines=2", "fleet.cpu_cache_gb=0.1"),
    *("generation.keep_cut=true", "checkpoints.store=s3://eva/runs"),
)
SECRETS = {"AWS_ACCESS_KEY_ID": "a-key-of-tests", "AWS_SECRET_ACCESS_KEY": "a-secret-of-tests"}


class Downloads(logging.Handler):
    """Counts the objects that the emulator has served, from the lines of its log."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Counter[str]()

    def emit(self, record: logging.LogRecord) -> None:
        if found := re.search(r"GET /eva/(\S+\.safetensors)", record.getMessage()):
            self.seen[found[1]] += 1


def machines(folder: Path, stack: ExitStack) -> list[Path]:
    """Starts a cluster of two machines with room for one engine each. Returns the folders of their caches."""
    caches = [folder / "cache-0", folder / "cache-1"]
    os.environ["EVA_CACHE_DIR"] = str(caches[0])
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = start_patiently(lambda: Cluster(initialize_head=True, head_node_args=head), "for the test")
    stack.callback(cluster.shutdown)
    os.environ["EVA_CACHE_DIR"] = str(caches[1])
    cluster.add_node(num_cpus=1)
    del os.environ["EVA_CACHE_DIR"]
    ray.init(address=cluster.address, log_to_driver=False)
    stack.callback(ray.shutdown)
    return caches


def main(folder: Path) -> None:
    downloads = Downloads()
    requests = logging.getLogger("werkzeug")
    requests.addHandler(downloads)
    requests.setLevel(logging.INFO)
    requests.propagate = False
    with ExitStack() as stack:
        server = ThreadedMotoServer(port=0)
        server.start()
        stack.callback(server.stop)
        host, port = server.get_host_and_port()
        caches = machines(folder, stack)
        os.environ |= {**SECRETS, "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
        client: Any = boto3.client("s3")
        client.create_bucket(Bucket="eva")
        settings = Settings(folder / "data", os.environ["EVA_DATABASE_URL"], None)
        with closing(open_store(settings)) as store:
            run = register_run(store, load_config("playground", CONFIG))
            drive(store, settings, run, Recorder())
            with store.transaction() as conn:
                ended, rows = runs.get_run(conn, run.id), checkpoints.read_checkpoints(conn, run.id)
        told = "".join(file.read_text(errors="replace") for file in settings.logs_dir.rglob("*.log"))
        fetched = dict(downloads.seen)
        seen = {
            "status": ended.status,
            "places": [row.path for row in rows],
            "damage": [stored_damage(row.path, row.digest) for row in rows],
            "digests": [row.digest for row in rows],
            "downloads": fetched,
            "copies": [sorted(copy.parent.name for copy in cache.rglob("manifest.json")) for cache in caches],
            "weights_of_the_driver": [str(file) for file in settings.data_dir.rglob("*.safetensors")],
            "secrets_in_logs": [name for name, value in SECRETS.items() if value in told],
        }
    print(json.dumps(seen), flush=True)  # noqa: T201 - what the test reads
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
