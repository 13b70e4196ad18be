"""The folder of one driver inside the folder of its run: files that no other driver may change.

A driver that was frozen and relieved may wake up at any time and go on with its files for a moment. So what a driver
writes for itself lies in a folder that has its fence number in its name, and only a newer driver removes it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

_NAME = re.compile(r"driver-([0-9]+)")
_UNNAMED = ("serving", "jobs")
"""Where all drivers of a run wrote before their folders had names."""


def driver_folder(run_folder: Path, fence: int) -> Path:
    """Returns the folder of the driver that holds the run's lease with this fence number."""
    return run_folder / f"driver-{fence}"


def remove_earlier_folders(run_folder: Path, fence: int) -> None:
    """Removes what earlier drivers of the run have left. Files of this driver and of newer ones are not touched."""
    for folder in run_folder.glob("*"):
        match = _NAME.fullmatch(folder.name)
        if folder.name in _UNNAMED or (match is not None and int(match[1]) < fence):
            shutil.rmtree(folder, ignore_errors=True)
