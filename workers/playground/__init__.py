"""The micro-world: a tiny real model, and tasks whose correct answer is computed.

`world`: tasks, their prompts and solutions
`tasks`, `random_tasks`: seed prompts and held-out prompts
`operators`, `evolver`: rules that make a prompt harder
`reward`: how much of a response is correct
`lazy_writer`, `architecture`, `make_model`: how the solver was made
`measure`: its accuracy
`written_prompts`, `make_creator`: a creator with weights of its own, and how it is made
"""

from pathlib import Path

MODEL_DIR = Path(__file__).parent / "solver"
"""The committed solver in Hugging Face's layout; importing this package does not import torch."""
