import errno
import subprocess
import sys
from pathlib import Path

import pytest

from eva.errors import DiskFullError, InfrastructureError
from eva.runtime.full_disk import disk_full_cause, full_disk_errors


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "/data/x"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "/runs/one"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "/runs/one"),
    ],
)
def test_a_full_disk_is_recognised_whoever_reports_it(error: Exception, named: str) -> None:
    said = f"no space is left .*{named}.*Free some space there, then resume"
    with pytest.raises(DiskFullError, match=said), full_disk_errors(Path("/runs/one")):
        raise error
    with pytest.raises(DiskFullError, match=named), full_disk_errors(Path("/runs/one")):
        raise InfrastructureError("no Ray cluster starts") from error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(PermissionError), full_disk_errors(Path("/runs/one")):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert disk_full_cause(ValueError("28")) is None


LOGGING = """
import logging, sys
from eva.runtime.logs import WorkerLog
WorkerLog(sys.argv[1], "trainer").begin()
for _ in range(3):
    print("x" * 10000)
    logging.getLogger("eva").warning("y")
"""


@pytest.mark.parametrize("log", ["/dev/full", "{folder}/trainer.log"])
def test_a_worker_goes_on_when_the_disk_of_its_log_is_full(log: str, tmp_path: Path) -> None:
    path = log.format(folder=tmp_path)
    done = subprocess.run([sys.executable, "-c", LOGGING, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert log == "/dev/full" or (tmp_path / "trainer.log").read_text().count("x" * 10000) == 3


def test_a_worker_whose_log_cannot_be_created_on_a_full_disk_goes_on(tmp_path: Path) -> None:
    refused = "import os, errno\ndef refused(*_): raise OSError(errno.ENOSPC, 'full')\nos.open = refused\n"
    command = [sys.executable, "-c", refused + LOGGING, str(tmp_path / "trainer.log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("x" * 10000) == 3
