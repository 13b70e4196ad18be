"""Ray's workers in tests are forked: each has what Ray would have given it, and the libraries of its kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support import warm_python
from tests.support.structure import ROOT

SCRIPT = """
import json, os, sys
imported = [name for name in ("ray", "torch") if name in sys.modules]
print(json.dumps([__name__, os.environ["GIVEN"], os.getcwd(), sys.argv[1:], imported, os.getpid()]))
"""


def test_a_forked_worker_has_its_environment_folder_arguments_and_streams(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    answers: list[list[object]] = []
    with warm_python.warm_workers():
        for given in ("one", "other"):
            context = {"env_vars": {"GIVEN": given, "PYTHONPATH": str(ROOT)}, "py_executable": sys.executable}
            words = [f"--serialized-runtime-env-context={json.dumps(context)}", "--language=PYTHON", "--more"]
            asked = [sys.executable, warm_python.__file__, script, *words]
            said = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True)
            assert said.stderr == ""
            answers.append(json.loads(said.stdout))
    expected = [["__main__", given, str(tmp_path), ["--more"], ["ray"]] for given in ("one", "other")]
    assert [answer[:-1] for answer in answers] == expected
    assert answers[0][-1] != answers[1][-1]


def test_a_worker_that_wants_another_python_is_started_by_ray_itself(tmp_path: Path) -> None:
    """As `setup_worker.py` beside the worker's script has it."""
    (tmp_path / "setup_worker.py").write_text("import sys\nprint(sys.argv[1:])\n")
    words = [str(tmp_path / "worker.py"), '--serialized-runtime-env-context={"py_executable": "other"}', "--more"]
    asked = [sys.executable, warm_python.__file__, *words]
    said = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert said.stdout == f"{words}\n"
