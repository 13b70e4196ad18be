"""The plain side of benchmarks.generation: `vllm.LLM` in a separate process, controlled by lines on standard input.

    python -m benchmarks.plain_vllm JOB ANSWERS

JOB is a JSON file (arguments, ids, sampling), ANSWERS a file descriptor to write to.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from eva.types import Request


def serve_plain(job: Path, answers: int) -> None:
    """Runs the plain side's process: loads once, then generates once for each line that it reads."""
    from vllm import LLM, SamplingParams

    given = json.loads(job.read_text())
    llm = LLM(**given["arguments"])
    for line in sys.stdin:
        detokenize = line.strip() == "plain"
        sampling = [SamplingParams(**row, detokenize=detokenize) for row in given["sampling"]]
        began = time.perf_counter()
        outputs = llm.generate([{"prompt_token_ids": ids} for ids in given["ids"]], sampling, use_tqdm=False)
        if not detokenize:
            words: Any = llm.get_tokenizer()
            for output in outputs:
                words.batch_decode([made.token_ids for made in output.outputs], skip_special_tokens=True)
        seconds = time.perf_counter() - began
        tokens = sum(len(made.token_ids) for output in outputs for made in output.outputs)
        os.write(answers, f"{json.dumps([seconds, tokens])}\n".encode())


class PlainSide:
    """`vllm.LLM` in another process, with the same environment as an engine."""

    def __init__(
        self,
        arguments: dict[str, Any],
        ids: list[list[int]],
        asked: list[Request],
        environment: dict[str, str],
        scratch: Path,
    ) -> None:
        job = scratch / "plain.json"
        rows = [
            {
                "n": r.n,
                "seed": r.seed,
                "temperature": r.sampling.temperature,
                "top_p": r.sampling.top_p,
                "max_tokens": r.sampling.max_tokens,
            }
            for r in asked
        ]
        job.write_text(json.dumps({"arguments": arguments, "ids": ids, "sampling": rows}))
        reader, writer = os.pipe()
        self._log = scratch / "plain.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.plain_vllm", str(job), str(writer)],
                text=True,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(writer,),
                env={**os.environ, **environment},
            )
        os.close(writer)
        self._answers = os.fdopen(reader)

    def run(self, kind: str) -> tuple[float, int]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{kind}\n")
            self._process.stdin.flush()
            seconds, tokens = json.loads(self._answers.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise SystemExit(f"The plain side's process ended:\n{self._log.read_text()[-3000:]}") from None
        return seconds, tokens

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


if __name__ == "__main__":
    serve_plain(Path(sys.argv[1]), int(sys.argv[2]))
