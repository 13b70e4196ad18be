"""One engine: vLLM in one process, fed continuously.

The engine has no thread of its own. Each call of `work` takes requests, steps the engine for a moment and returns
what has finished. The fleet keeps the next call queued behind the running one, so that the engine never waits for the
driver. This class does not depend on Ray: `placement` makes it an actor.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eva.errors import InfrastructureError, ModelError
from eva.runtime.failpoints import reach
from eva.runtime.logs import WorkerLog
from eva.solver.manifest import is_stored
from eva.types import Checkpoint, PromptResponses, Request, Response
from workers.cluster.secrets import NO_SECRETS, Secrets
from workers.fleet.serving_view import serving_view
from workers.models.chat_template import PromptEncoder, Prompting, UnusablePromptError
from workers.training.checkpoints import verify_once
from workers.training.stored.node_cache import node_cache

Task = tuple[int, Request]
"""A request with the ticket that its result carries."""
Result = tuple[int, PromptResponses]

QUANTUM_S = 0.1
PATIENCE_S = 1.0
# Tokens of one step. Prompts are prefilled whole, so a step must hold the longest one.
STEP_TOKENS = 4096

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """The settings of an engine, apart from its weights.

    `max_sequences`, `step_tokens`: None leaves it to vLLM, which has settings for offline use of each GPU. `gpus`: 0
    serves on the CPU, more than 1 tensor-parallel.
    `cpu_cache_gb` (CPU) and `memory_fraction` (GPU) bound the key-value cache.
    """

    prompting: Prompting
    dtype: str
    max_model_len: int
    enforce_eager: bool
    max_sequences: int | None
    gpus: float
    cpu_cache_gb: float
    memory_fraction: float
    step_tokens: int | None = None
    kv_cache_dtype: str = "auto"
    log: WorkerLog | None = None


class Engine:
    """A vLLM engine that answers requests and can load other weights of the same shape."""

    def __init__(self, setup: EngineSetup) -> None:
        """Imports vLLM, the slow part of a start. No model is loaded yet."""
        if setup.log is not None:
            setup.log.begin()
            if setup.log.form == "json" and "VLLM_LOGGING_CONFIG_PATH" not in os.environ:
                # otherwise vLLM formats its own log records
                os.environ["VLLM_CONFIGURE_LOGGING"] = "0"
        from vllm.engine.arg_utils import EngineArgs  # noqa: F401

        self._setup = setup
        self._llm: Any = None
        self._encoder: PromptEncoder | None = None
        self._asked: dict[str, tuple[int, Request, list[int]]] = {}
        self._refused: list[Result] = []
        self._serial = 0

    def log_to(self, log: WorkerLog) -> None:
        """Continues in another log file: the engine serves another run from now on."""
        log.begin()

    def open(self, folder: str, policy: Checkpoint | None = None, secrets: Secrets = NO_SECRETS) -> float:
        """Loads the model of a folder, replacing any other, and returns the seconds that took.

        `policy`: the checkpoint that the folder shows, which this machine verifies if it has not yet. One in an object
        store is loaded from this machine's copy instead; `secrets` give access to the store. Raises ModelError if the
        model or its tokenizer cannot be served, or memory does not suffice, CheckpointError, StorageError and
        DiskFullError.
        """
        with _servable(folder, policy, secrets) as servable:
            return self._open(servable)

    def _open(self, folder: str) -> float:
        from vllm.engine.arg_utils import EngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        began = time.monotonic()
        self._close()
        self._encoder = PromptEncoder(folder, self._setup.prompting)
        try:
            self._llm = LLMEngine.from_engine_args(
                EngineArgs(**engine_arguments(self._setup, folder)), usage_context=UsageContext.LLM_CLASS
            )
        except Exception as error:  # vLLM raises anything
            raise start_error(folder, error) from error
        reach("engine.opened")
        log.info("serves %s", folder)
        return time.monotonic() - began

    def reload(self, folder: str, policy: Checkpoint | None = None, secrets: Secrets = NO_SECRETS) -> None:
        """Loads the weights of another folder in place, and discards everything computed with the old ones.

        For `policy` and `secrets` see `open`.
        """
        with _servable(folder, policy, secrets) as servable:
            self.forget()
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": servable})
        self._llm.reset_prefix_cache()
        reach("engine.reloaded")
        log.info("serves %s", folder)

    def measure(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Returns log-probabilities (nats) of all tokens but the first of each sequence, given those before."""
        from vllm import SamplingParams

        asked = SamplingParams(prompt_logprobs=0, max_tokens=1, temperature=0, detokenize=False)
        for index, ids in enumerate(sequences):
            self._llm.add_request(f"canary-{index}", _tokens(list(ids)), asked)
        rows: dict[str, list[float]] = {}
        while self._llm.has_unfinished_requests():
            for output in self._llm.step():
                pairs = zip(output.prompt_token_ids[1:], output.prompt_logprobs[1:], strict=True)
                rows[output.request_id] = [float(seen[token].logprob) for token, seen in pairs]
        reach("engine.measured")
        return [rows[f"canary-{index}"] for index in range(len(sequences))]

    def work(self, tasks: Sequence[Task], quantum_s: float = QUANTUM_S, patience_s: float = PATIENCE_S) -> list[Result]:
        """Takes tasks and steps the engine. Returns what is finished after `quantum_s`, or nothing after `patience_s`.

        Returns at once if there is nothing to do.
        """
        began = time.monotonic()
        for ticket, request in tasks:
            self._ask(ticket, request)
        finished, self._refused = self._refused, []
        while self._asked:
            for output in self._llm.step():
                finished.append(self._answer(output))
            if time.monotonic() - began >= (quantum_s if finished else patience_s):
                break
        if finished:
            reach("engine.worked")
        return finished

    def forget(self) -> None:
        """Drops every request in flight."""
        if self._asked:
            self._llm.abort_request(list(self._asked))
        while self._llm is not None and self._llm.has_unfinished_requests():
            self._llm.step()
        self._asked.clear()
        self._refused.clear()

    def _close(self) -> None:
        """Shuts vLLM down at once: a late finaliser would destroy the next model's process groups (globals)."""
        if self._llm is not None:
            from vllm.distributed import cleanup_dist_env_and_memory

            self.forget()
            self._llm.engine_core.shutdown()
            self._llm = None
            gc.collect()
            cleanup_dist_env_and_memory()

    def _ask(self, ticket: int, request: Request) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        assert self._encoder is not None
        try:
            ids = self._encoder.encode(request.text, request.context)
            self._check_room(len(ids), request.sampling.max_tokens)
        except UnusablePromptError as error:
            self._refused.append((ticket, PromptResponses(request.number, request.text, (), failure=str(error))))
            return
        # vLLM draws response i of a request from `seed + i`. Greedy responses are all equal, so one is requested.
        greedy = request.sampling.temperature == 0
        asked = SamplingParams(
            n=1 if greedy else request.n,
            seed=request.seed + request.first,
            temperature=request.sampling.temperature,
            top_p=request.sampling.top_p,
            max_tokens=request.sampling.max_tokens,
            output_kind=RequestOutputKind.FINAL_ONLY,
            detokenize=False,
            **({"logprobs": 0, "flat_logprobs": True} if request.record else {}),
        )
        self._serial += 1
        self._asked[str(self._serial)] = (ticket, request, ids)
        self._llm.add_request(str(self._serial), _tokens(ids), asked)

    def _check_room(self, prompt_tokens: int, max_tokens: int) -> None:
        room = self._setup.max_model_len - max_tokens
        if prompt_tokens > room:
            raise UnusablePromptError(
                f"the prompt has {prompt_tokens} tokens, but the engine's context of {self._setup.max_model_len} "
                f"leaves {room} beside a response of up to {max_tokens}"
            )

    def _answer(self, output: Any) -> Result:
        ticket, request, prompt_ids = self._asked.pop(output.request_id)
        assert self._encoder is not None
        kept = [_without_stop(completion) for completion in output.outputs]
        texts = self._encoder.tokenizer.batch_decode(kept, skip_special_tokens=True)
        made = [
            (text, completion.finish_reason, len(completion.token_ids), *_sampled(completion, request))
            for text, completion in zip(texts, output.outputs, strict=True)
        ]
        if len(made) < request.n:
            made *= request.n
        responses = tuple(
            Response(
                request.first + index, text, reason, tokens, request.seed + request.first + index, token_ids, logprobs
            )
            for index, (text, reason, tokens, token_ids, logprobs) in enumerate(made)
        )
        recorded = tuple(prompt_ids) if request.record else ()
        return ticket, PromptResponses(
            request.number, request.text, responses, None, len(prompt_ids), request.context, recorded
        )


def engine_arguments(setup: EngineSetup, folder: str) -> dict[str, Any]:
    """Returns keyword arguments for vLLM's EngineArgs (and for its LLM, in a benchmark)."""
    arguments: dict[str, Any] = {
        "model": folder,
        "dtype": setup.dtype,
        "max_model_len": setup.max_model_len,
        "enforce_eager": setup.enforce_eager,
        "disable_log_stats": True,
        "kv_cache_dtype": setup.kv_cache_dtype,
        # of the distribution that is sampled from: after temperature and top_p
        "logprobs_mode": "processed_logprobs",
    }
    if setup.max_sequences is not None:
        arguments["max_num_seqs"] = setup.max_sequences
    if setup.gpus > 0:
        if setup.step_tokens is not None:
            arguments["max_num_batched_tokens"] = setup.step_tokens
        # In a placement group vLLM would start actors of its own for tensor parallelism, with GPUs beside the engine's.
        parallel = {"distributed_executor_backend": "mp"} if setup.gpus > 1 else {}
        return (
            arguments
            | parallel
            | {
                "gpu_memory_utilization": setup.memory_fraction,
                "tensor_parallel_size": max(1, int(setup.gpus)),
            }
        )
    # A seeded request with a chunked prefill crashes vLLM 0.32 on a CPU ("CPU Generator does not use offset").
    # So prompts are prefilled whole, and a step has room for the longest.
    return arguments | {
        "kv_cache_memory_bytes": int(setup.cpu_cache_gb * 2**30),
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(setup.step_tokens or STEP_TOKENS, setup.max_model_len),
    }


def start_error(folder: str, error: Exception) -> InfrastructureError | ModelError:
    """Returns the error for an engine that did not start. A lack of memory is recognised by vLLM's message."""
    words = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    if isinstance(error, MemoryError) or "memory" in str(error).lower():
        return ModelError(
            f"an engine found too little memory for {folder}: {words}",
            expected="room for the weights and the key-value cache of one full sequence",
            next_move="Lower fleet.max_model_len or fleet.engines, use a smaller model, or give the "
            "cache more (fleet.cpu_cache_gb on a CPU, fleet.memory_fraction on a GPU)",
        )
    return ModelError(
        f"vLLM could not load {folder}: {words}",
        expected="a causal LM of an architecture that vLLM serves",
        next_move="Read the engine's log; try the folder with `vllm serve`",
    )


@contextmanager
def _servable(folder: str, policy: Checkpoint | None, secrets: Secrets) -> Generator[str]:
    """The folder to load a policy from: the one that the driver made, or this machine's copy of a stored checkpoint."""
    if policy is None or not is_stored(policy.path):
        if policy is not None:
            verify_once(Path(policy.path), policy.digest)
        yield folder
        return
    secrets.install()
    cache = node_cache()
    with cache.opened(policy.path, policy.digest, log.info) as copy:
        yield str(serving_view(copy, cache.view(policy.digest)))


def _tokens(ids: list[int]) -> Any:
    from vllm.inputs.engine import tokens_input

    return tokens_input(ids)


def _sampled(completion: Any, request: Request) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The sampled token ids, with the one that ended the response, and their log-probabilities (nats), if requested.

    Raises InfrastructureError if vLLM returned another number of log-probabilities than of tokens.
    """
    if not request.record:
        return (), ()
    token_ids, logprobs = tuple(completion.token_ids), tuple(completion.logprobs.logprobs)
    if len(token_ids) != len(logprobs) or list(token_ids) != completion.logprobs.token_ids:
        raise InfrastructureError(
            f"vLLM returned {len(logprobs)} log-probabilities for the {len(token_ids)} tokens of a response to prompt "
            f"{request.number}",
            expected="the log-probability of each sampled token",
            next_move="Use the pinned version of vLLM, or a loss that needs no token record",
        )
    return token_ids, logprobs


def _without_stop(completion: Any) -> list[int]:
    """Token ids without the one that ended the response: not text, even if the tokenizer does not mark it special."""
    ids = list(completion.token_ids)
    return ids[:-1] if completion.finish_reason == "stop" else ids
