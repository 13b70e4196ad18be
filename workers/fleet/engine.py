"""One engine: vLLM in one process, fed continuously.

The engine has a thread of its own, which steps vLLM as long as a request is unfinished. `submit` gives it requests and
`poll` takes what has finished, so a driver that pauses keeps no engine from working. This class does not depend on Ray:
`placement` makes it an actor.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from eva.errors import InfrastructureError, ModelError
from eva.runtime.failpoints import reach
from eva.runtime.logs import WorkerLog
from eva.solver.manifest import is_stored
from eva.types import Checkpoint, PromptResponses, Request, Response
from workers.cluster.secrets import NO_SECRETS, Secrets
from workers.fleet.adapter_room import AdapterRoom
from workers.fleet.serving_view import serving_view
from workers.models.chat_template import PromptEncoder, Prompting, UnusablePromptError
from workers.training.adapters.adapter_files import Adapter, read_adapter
from workers.training.checkpoints import verify_once
from workers.training.stored.node_cache import node_cache

Task = tuple[int, Request]
"""A request with the ticket that its result carries."""
Result = tuple[int, PromptResponses]
T = TypeVar("T")

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
    `cpu_cache_gb` (CPU) and `memory_fraction` (GPU) bound the key-value cache. `adapters`: None serves none.
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
    adapters: AdapterRoom | None = None


class Engine:
    """A vLLM engine that answers requests and can load other weights of the same shape.

    Its methods may be called from any thread: vLLM itself is only used by the engine's own thread.
    """

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
        # vLLM's request for the adapter that is served, how many there were, and the highest rank that has room.
        self._adapter: Any = None
        self._adapters = self._room = 0
        self._encoder: PromptEncoder | None = None
        self._asked: dict[str, tuple[int, Request, list[int]]] = {}
        self._serial = 0
        self._changed = threading.Condition()
        # All of these are shared with the callers' threads, under `_changed`.
        self._commands: deque[Callable[[], None]] = deque()
        self._submitted: list[Task] = []
        self._finished: list[Result] = []
        self._failure: BaseException | None = None
        self._working = False
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def log_to(self, log: WorkerLog) -> None:
        """Continues in another log file: the engine serves another run from now on."""
        log.begin()

    def open(
        self,
        folder: str,
        policy: Checkpoint | None = None,
        secrets: Secrets = NO_SECRETS,
        adapted: Checkpoint | None = None,
    ) -> int:
        """Loads the model of a folder, replacing any other. Returns how many sequences the engine works on at once.

        `policy`: the checkpoint that the folder shows, which this machine verifies if it has not yet. One in an object
        store is loaded from this machine's copy instead; `secrets` give access to the store. `adapted`: the checkpoint
        whose adapter is served with these weights. Raises ModelError if the model or its tokenizer cannot be served, or
        memory does not suffice, CheckpointError, StorageError and DiskFullError.
        """
        adapter = None if adapted is None else read_adapter(adapted)
        with _servable(folder, policy, secrets) as servable:
            return self._command(partial(self._open, servable, adapter))

    def reload(self, folder: str, policy: Checkpoint | None = None, secrets: Secrets = NO_SECRETS) -> None:
        """Loads the weights of another folder in place, and discards everything computed with the old ones.

        For `policy` and `secrets` see `open`.
        """
        with _servable(folder, policy, secrets) as servable:
            self._command(partial(self._reload, servable))

    def adapt(self, folder: str, adapted: Checkpoint | None) -> None:
        """Serves the weights of `folder`, which the engine has loaded, with the adapter of another checkpoint, or with
        none. Discards everything computed before.

        An adapter of a higher rank than the engine has room for is served by opening the folder again.
        """
        adapter = None if adapted is None else read_adapter(adapted)
        self._command(partial(self._adapt, folder, adapter))

    def measure(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Returns log-probabilities (nats) of all tokens but the first of each sequence, given those before."""
        rows = self._command(partial(self._measure, sequences))
        reach("engine.measured")
        return rows

    def submit(self, tasks: Sequence[Task]) -> None:
        """Gives the engine requests. Returns at once."""
        with self._changed:
            self._submitted.extend(tasks)
            self._working = True
            self._changed.notify_all()

    def poll(self, quantum_s: float = QUANTUM_S, patience_s: float = PATIENCE_S) -> list[Result]:
        """Takes the results that are finished after `quantum_s`, or none after `patience_s`.

        Returns at once if the engine has nothing to do. Raises the error that has ended the engine's work.
        """
        began = time.monotonic()
        with self._changed:
            while self._working and self._failure is None:
                left_s = began + (quantum_s if self._finished else patience_s) - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            if self._failure is not None:
                raise self._failure
            finished, self._finished = self._finished, []
        if finished:
            reach("engine.worked")
        return finished

    def forget(self) -> None:
        """Drops every request in flight, and what is finished."""
        with self._changed:
            self._submitted = []
        self._command(self._forget)

    def _command(self, action: Callable[[], T]) -> T:
        """Runs an action on the engine's thread, between two steps, and returns its result."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(action())
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                future.set_exception(error)

        with self._changed:
            self._commands.append(run)
            self._changed.notify_all()
        return future.result()  # bounded: the fleet replaces an engine that does not answer

    def _run(self) -> None:
        while True:
            with self._changed:
                self._working = bool(self._submitted or self._asked)
                if not self._working:
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._commands or self._submitted)
                command = self._commands.popleft() if self._commands else None
                tasks, self._submitted = ([], self._submitted) if command else (self._submitted, [])
                self._working = bool(tasks or self._submitted or self._asked)
            if command is not None:
                command()
                continue
            try:
                finished = self._step(tasks)
            except BaseException as error:  # noqa: BLE001 - raised again by `poll`
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                return
            if finished:
                with self._changed:
                    self._finished += finished
                    self._changed.notify_all()

    def _step(self, tasks: Sequence[Task]) -> list[Result]:
        """Takes requests and steps vLLM once. Returns what has finished, refused requests included."""
        finished = [refused for task in tasks if (refused := self._ask(*task)) is not None]
        if self._asked:
            finished += [self._answer(output) for output in self._llm.step()]
        return finished

    def _open(self, folder: str, adapter: Adapter | None = None) -> int:
        from vllm.engine.arg_utils import EngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        began = time.monotonic()
        self._close()
        self._encoder = PromptEncoder(folder, self._setup.prompting)
        room = self._setup.adapters
        setup = self._setup if room is None else replace(self._setup, adapters=room.holding(adapter))
        try:
            self._llm = LLMEngine.from_engine_args(
                EngineArgs(**engine_arguments(setup, folder)), usage_context=UsageContext.LLM_CLASS
            )
        except Exception as error:  # vLLM raises anything
            raise start_error(folder, error) from error
        self._room = 0 if setup.adapters is None else setup.adapters.rank
        self._adapter = None
        self._load_adapter(adapter)
        reach("engine.opened")
        log.info("serves %s after %.1f s", folder, time.monotonic() - began)
        return int(self._llm.vllm_config.scheduler_config.max_num_seqs)

    def _reload(self, folder: str) -> None:
        self._forget()
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        self._serve_anew(folder)

    def _adapt(self, folder: str, adapter: Adapter | None) -> None:
        if adapter is not None and adapter.rank > self._room:
            self._open(folder, adapter)
            return
        self._forget()
        self._load_adapter(adapter)
        self._serve_anew(f"{folder} with {'no adapter' if adapter is None else adapter.folder}")

    def _serve_anew(self, what: str) -> None:
        """Discards what was computed with the weights before."""
        self._llm.reset_prefix_cache()
        reach("engine.reloaded")
        log.info("serves %s", what)

    def _load_adapter(self, adapter: Adapter | None) -> None:
        """Takes the adapter away that is served, and loads another. Each gets a number of its own, by which vLLM knows
        what it has computed."""
        if self._adapter is not None:
            self._llm.remove_lora(self._adapter.lora_int_id)
            self._adapter = None
        if adapter is None:
            return
        from vllm.lora.request import LoRARequest

        self._adapters += 1
        request = LoRARequest(f"adapter-{self._adapters}", self._adapters, str(adapter.folder))
        try:
            self._llm.add_lora(request)
        except Exception as error:  # vLLM raises anything
            raise start_error(str(adapter.folder), error) from error
        self._adapter = request

    def _measure(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        from vllm import SamplingParams

        asked = SamplingParams(prompt_logprobs=0, max_tokens=1, temperature=0, detokenize=False)
        for index, ids in enumerate(sequences):
            self._llm.add_request(f"canary-{index}", _tokens(list(ids)), asked, lora_request=self._adapter)
        rows: dict[str, list[float]] = {}
        while self._llm.has_unfinished_requests():
            for output in self._llm.step():
                pairs = zip(output.prompt_token_ids[1:], output.prompt_logprobs[1:], strict=True)
                rows[output.request_id] = [float(seen[token].logprob) for token, seen in pairs]
        return [rows[f"canary-{index}"] for index in range(len(sequences))]

    def _forget(self) -> None:
        if self._asked:
            self._llm.abort_request(list(self._asked))
        while self._llm is not None and self._llm.has_unfinished_requests():
            self._llm.step()
        self._asked.clear()
        with self._changed:
            self._finished = []

    def _close(self) -> None:
        """Shuts vLLM down at once: a late finaliser would destroy the next model's process groups (globals)."""
        if self._llm is not None:
            from vllm.distributed import cleanup_dist_env_and_memory

            self._forget()
            self._llm.engine_core.shutdown()
            self._llm = None
            gc.collect()
            cleanup_dist_env_and_memory()

    def _ask(self, ticket: int, request: Request) -> Result | None:
        """Gives vLLM a request. Returns the result of one that cannot be answered."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        assert self._encoder is not None
        try:
            ids = self._encoder.encode(request.text, request.context)
            self._check_room(len(ids), request.sampling.max_tokens)
        except UnusablePromptError as error:
            return ticket, PromptResponses(request.number, request.text, (), failure=str(error))
        # vLLM draws response i of a request from `seed + i`.
        asked = SamplingParams(
            n=request.sequences,
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
        self._llm.add_request(str(self._serial), _tokens(ids), asked, lora_request=self._adapter)
        return None

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
    if setup.adapters is not None:
        arguments |= setup.adapters.arguments(folder)
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
    if "support lora" in words.lower():
        return ModelError(
            f"vLLM could not load {folder}: {words}",
            expected="an architecture that vLLM serves with adapters",
            next_move="Set training.lora.serve to merged",
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
