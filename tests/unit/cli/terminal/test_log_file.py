from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli.terminal.log_file import chatter_to
from eva.errors import InputError

CHATTER = """
import logging, os, subprocess, sys, warnings
from pathlib import Path
from cli.terminal.log_file import chatter_to
print("before")
with chatter_to(Path(sys.argv[1])) as terminal:
    print("a library prints")
    sys.stderr.write("a library warns\\n")
    os.write(1, b"C code prints\\n")
    subprocess.run([sys.executable, "-c", "print('a child prints')"], check=True)
    logging.getLogger("some.library").warning("a record")
    terminal.write("eva speaks\\n")
print("after")
sys.stderr.write("after, too\\n")
"""

SHORT_CHATTER = """
import logging, sys
from pathlib import Path
from cli.terminal.log_file import chatter_to
with chatter_to(Path(sys.argv[1])) as terminal:
    print("a library prints")
    logging.getLogger("some.library").warning("a record")
    terminal.write("eva speaks\\n")
"""


def test_while_a_run_plays_the_terminal_belongs_to_eva(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "run.log"
    done = subprocess.run(
        [sys.executable, "-c", CHATTER, str(log)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["before", "eva speaks", "after"]
    assert done.stderr == "after, too\n"
    written = log.read_text()
    for said in (
        "a library prints",
        "a library warns",
        "C code prints",
        "a child prints",
        "WARNING some.library: a record",
    ):
        assert said in written


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with chatter_to(tmp_path / "log"):
            print(text)  # noqa: T201 - chatter
    assert (tmp_path / "log").read_text() == "first\nsecond\n"


def test_what_is_printed_into_a_log_has_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "a-secret-of-12")
    with chatter_to(tmp_path / "log"):
        print("asked with a-secret-of-12 and Authorization: Bearer abcdefghijklmnop")  # noqa: T201 - chatter
    assert (tmp_path / "log").read_text() == "asked with *** and Authorization: ***\n"


def test_a_log_that_cannot_be_written_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(InputError, match="cannot write"), chatter_to(tmp_path / "logs" / "log"):
        pass


def test_a_full_disk_under_the_log_is_reported_and_does_not_end_the_run(tmp_path: Path) -> None:
    full = tmp_path / "log"
    full.symlink_to("/dev/full")
    said = subprocess.run([sys.executable, "-c", SHORT_CHATTER, str(full)], check=True, capture_output=True, text=True)
    first, second = said.stdout.splitlines()
    assert first == "eva speaks" and re.fullmatch(rf"The disk was full: \d+ writes to the log {full} were lost", second)


CLOSED = """
import os, sys
from pathlib import Path
from cli.terminal.log_file import chatter_to
with chatter_to(Path(sys.argv[1])) as terminal:
    terminal.write("before\\n")
    sys.stdin.readline()
    terminal.write("after\\n")
    print("in the log")
    Path(sys.argv[1]).with_name("done").touch()
os._exit(0)
"""


def test_a_terminal_that_is_closed_does_not_end_the_run(tmp_path: Path) -> None:
    master, terminal = os.openpty()
    command = [sys.executable, "-c", CLOSED, str(tmp_path / "eva.log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=terminal, stderr=subprocess.PIPE, text=True) as played:
        os.close(terminal)
        assert b"before" in os.read(master, 100)
        os.close(master)
        _, failure = played.communicate("go on\n", timeout=60)
    assert played.returncode == 0 and failure == "", failure
    assert (tmp_path / "done").exists() and "in the log" in (tmp_path / "eva.log").read_text()
