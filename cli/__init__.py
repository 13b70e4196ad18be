"""The command `eva`.

- `main`: the entry point: the list of commands, errors as messages and exit codes
- `commands`: a module for each command
- `terminal`: how text, figures and progress look on a terminal
- `report`: the report of a run, as `eva show` prints it
- `study`: the report of a study
- `play`: playing a run in front of a person
- `service_launcher`: the launcher thread of `eva serve`
- `remote`: the API as commands use it, in this process or at a URL
- `store_access`: the store, opened for a command
- `desired_state`: requests to pause or cancel a run
- `replay`: sampling redone on stored rewards
- `finding`: what a check of `eva doctor` finds
- `diagnosis`: the checks of `eva doctor`
- `privacy_diagnosis`: those of files and Ray clusters
- `reward_diagnosis`: those of `eva doctor --reward`
- `config_reference`: the reference of all config keys
"""

import sys
from importlib import import_module
from pathlib import Path

# Ray puts the folder of `ray job submit --working-dir` first on the path: a file `eva.py` there is not eva.
_BESIDE = str(Path(__file__).parents[1])
sys.path.insert(0, _BESIDE)
import_module("eva.runtime")  # once it is imported, its modules are found whatever the path says
sys.path.remove(_BESIDE)
