"""Where Python looks for modules: eva's own folder before the user's, and the user's after everything else.

A user's folder may hold a file of any name, `store.py` or `types.py`: it must never hide a module of eva, of a library
or of Python itself. In a development install the folder that contains eva is not on the path (a finder behind the
whole path answers for it), so it is added before the user's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

EVA_FOLDER = Path(__file__).resolve().parents[2]
FOLDERS = "EVA_USER_FOLDERS"
"""The environment variable by which a process hands its user folders on to those that it starts."""


def user_folders() -> list[str]:
    """The working directory, and the working directories of the processes that started this one."""
    inherited = os.environ.get(FOLDERS, "").split(os.pathsep)
    return [*dict.fromkeys(filter(None, [os.getcwd(), *inherited]))]


def add_user_folders() -> None:
    """Append the user's folders to the import path, unless they are on it."""
    for folder in (str(EVA_FOLDER), *user_folders()):
        if folder not in sys.path:
            sys.path.append(folder)


def move_user_folders_last() -> None:
    """Move the user's folders to the end of the import path, for a process of eva's own: Python may put the working
    directory first."""
    folders = {"", *user_folders()} - {str(EVA_FOLDER)}
    sys.path[:] = [entry for entry in sys.path if entry not in folders]
    add_user_folders()
