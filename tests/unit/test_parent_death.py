"""A killed test leaves no process behind."""

import os
import subprocess
import sys
import time

import pytest

from eva.runtime.processes import start_time

START = """
import subprocess, sys, time
from tests.support.parent_death import end_with_parent
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
print(subprocess.Popen(sleep, preexec_fn=end_with_parent).pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a process when its parent dies")
def test_a_process_ends_with_the_killed_one_that_started_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.kill()
    parent.communicate(timeout=30)
    deadline = time.monotonic() + 30
    while start_time(child) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert start_time(child) is None
