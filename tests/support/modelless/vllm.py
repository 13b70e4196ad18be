"""Stands for vLLM in a process of a real engine: no model, an answer in a moment, and the canary of the folder.

Put before the real one on an engine's PYTHONPATH. What it is asked is appended to the file that EVA_ASKED names, and
each answer takes EVA_STEP_S seconds (0.02).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

for _name in (
    "engine",
    "engine.arg_utils",
    "v1",
    "v1.engine",
    "v1.engine.llm_engine",
    "inputs",
    "inputs.engine",
    "sampling_params",
    "distributed",
    "usage",
    "usage.usage_lib",
):
    sys.modules[f"vllm.{_name}"] = sys.modules[__name__]

EngineArgs = SamplingParams = SimpleNamespace
RequestOutputKind = SimpleNamespace(FINAL_ONLY="final")
UsageContext = SimpleNamespace(LLM_CLASS="offline")


def tokens_input(ids: list[int]) -> list[int]:
    return ids


def cleanup_dist_env_and_memory() -> None:
    """There is none."""


class LLMEngine:
    """Finishes one request a step; what it answers depends on the request's seed alone."""

    @staticmethod
    def from_engine_args(arguments: SimpleNamespace, usage_context: str) -> LLMEngine:
        assert usage_context == UsageContext.LLM_CLASS
        return LLMEngine(arguments.model)

    def __init__(self, folder: str) -> None:
        self._folder, self._waiting = folder, dict[str, tuple[list[int], Any]]()
        self.engine_core = SimpleNamespace(shutdown=lambda: None)
        self.vllm_config = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=64))

    def add_request(self, name: str, ids: list[int], asked: Any, lora_request: None) -> None:
        self._waiting[name] = ids, asked
        if not name.startswith("canary-"):
            with Path(os.environ["EVA_ASKED"]).open("a") as file:
                file.write(f"{os.getpid()} {asked.seed}\n")

    def step(self) -> list[SimpleNamespace]:
        name = next(iter(self._waiting))
        ids, asked = self._waiting.pop(name)
        if name.startswith("canary-"):
            return [SimpleNamespace(request_id=name, prompt_token_ids=ids, prompt_logprobs=self._recorded(ids))]
        time.sleep(float(os.environ.get("EVA_STEP_S", "0.02")))
        made = [
            SimpleNamespace(token_ids=[5 + (asked.seed + sample) % 7] * 3, finish_reason="length")
            for sample in range(asked.n)
        ]
        for completion in made if getattr(asked, "logprobs", None) == 0 else ():
            completion.logprobs = SimpleNamespace(token_ids=completion.token_ids, logprobs=[-0.5] * 3)
        return [SimpleNamespace(request_id=name, outputs=made)]

    def has_unfinished_requests(self) -> bool:
        return bool(self._waiting)

    def abort_request(self, names: list[str]) -> None:
        for name in names:
            self._waiting.pop(name, None)

    def collective_rpc(self, method: str, kwargs: dict[str, str]) -> None:
        assert method == "reload_weights"
        self._folder = kwargs["weights_path"]

    def reset_prefix_cache(self) -> None:
        """It has none."""

    def _recorded(self, ids: list[int]) -> list[Any]:
        rows = json.loads((Path(self._folder) / "canary.json").read_text())["sequences"]
        row = next(row for row in rows if row["token_ids"] == ids)
        return [
            None,
            *({token: SimpleNamespace(logprob=value)} for token, value in zip(ids[1:], row["logprobs"], strict=True)),
        ]
