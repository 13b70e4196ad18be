"""The operators' templates: EvolInstruct's, read from the installed distilabel, and eva's own second pack.

distilabel's file of templates is loaded by its path. Importing it by name would import the whole package, which takes
seconds, warns, and installs a traceback hook that prints local variables (keys among them).
"""

from __future__ import annotations

import re
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from eva.errors import ConfigError
from workers.evolvers import instructions
from workers.evolvers.instructions import PARTNER, PLACE

_FILE = "steps/tasks/evol_instruct/utils.py"

_DISTILABEL_NAMES = {
    "constraints": "CONSTRAINTS",
    "deepening": "DEEPENING",
    "concretizing": "CONCRETIZING",
    "reasoning": "INCREASED_REASONING_STEPS",
    "breadth": "BREADTH",
}


def load_templates() -> dict[str, str]:
    """Returns the templates of both packs by operator. Raises ConfigError if distilabel's are not installed."""
    return _distilabel_templates() | instructions.TEMPLATES


def fill(template: str, text: str, partner: str | None = None) -> str:
    """Fills in the template in one pass, so that a prompt which contains a placeholder stays unchanged."""
    texts = {PLACE: text, PARTNER: partner or ""}
    return re.sub(f"{PLACE}|{PARTNER}", lambda found: texts[found.group()], template)


def _distilabel_templates() -> dict[str, str]:
    package = find_spec("distilabel")
    folders = (package.submodule_search_locations if package else None) or ()
    path = next((path for folder in folders if (path := Path(folder) / _FILE).is_file()), None)
    spec = spec_from_file_location("eva_evol_instruct_templates", path) if path else None
    if spec is None or spec.loader is None:
        raise ConfigError(
            f"distilabel with {_FILE} is not installed",
            expected="distilabel 1.5.3, whose templates evol_instruct uses",
            next_move="Install it: pip install distilabel==1.5.3",
        )
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return {operator: module.MUTATION_TEMPLATES[name] for operator, name in _DISTILABEL_NAMES.items()}
