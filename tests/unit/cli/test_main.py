from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.main import COMMANDS, GROUPS, Eva, eva
from eva.errors import (
    ConfigError,
    DiskFullError,
    EvaError,
    LeaseTakenError,
    NotFoundError,
    RunStoppedError,
    StoreError,
)
from tests.support.structure import ROOT

HEAVY = (
    "torch",
    "vllm",
    "trl",
    "ray",
    "litellm",
    "distilabel",
    "sqlalchemy",
    "transformers",
    "pydantic",
    "rich",
    "numpy",
)

IMPORTS = """
import sys
from cli.main import eva
for line in sys.argv[1:]:
    try:
        eva(line.split())
    except SystemExit:
        pass
    print(*sys.modules, file=sys.stderr)
"""


def modules_after(*lines: str) -> list[set[str]]:
    """The modules that a fresh interpreter holds after each of these command lines, one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, *lines], capture_output=True, text=True, check=True, timeout=60
    )
    return [set(modules.split()) for modules in done.stderr.splitlines()]


def test_the_help_imports_nothing_but_click() -> None:
    (modules,) = modules_after("--help")
    assert not modules & set(HEAVY)
    assert len(modules) < 200


def test_the_help_of_a_command_imports_no_machine_learning() -> None:
    heavy = {"torch", "vllm", "trl", "ray", "litellm", "distilabel", "transformers", "datasets"}
    held = modules_after(*(f"{command} --help" for command in COMMANDS))
    assert len(held) == len(COMMANDS) and len(held[-1]) > len(held[0])
    assert {command: modules & heavy for command, modules in zip(COMMANDS, held, strict=True) if modules & heavy} == {}


@pytest.mark.parametrize("name", [*COMMANDS])
def test_every_command_loads_and_explains_itself(name: str) -> None:
    shown = CliRunner().invoke(eva, [name, "--help"])
    assert shown.exit_code == 0
    assert shown.stdout.startswith("Usage: ")
    command = eva.get_command(click.Context(eva), name)
    assert command is not None
    assert command.help
    assert all(
        parameter.help
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name != "form"
    ), name


def test_an_unknown_command_is_a_usage_error_that_names_it() -> None:
    shown = CliRunner().invoke(eva, ["paly"])
    assert shown.exit_code == 2
    assert "paly" in shown.stderr


def failing(error: BaseException) -> Eva:
    """The command line with a single command that raises the error."""

    @click.command()
    def fail() -> None:
        raise error

    class Failing(Eva):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            del ctx, cmd_name
            return fail

    return Failing(params=eva.params, callback=eva.callback)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (NotFoundError("x"), 2),
        (LeaseTakenError("x"), 3),
        (RunStoppedError("x"), 3),
        (StoreError("x"), 4),
        (DiskFullError("x"), 4),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: EvaError, code: int) -> None:
    assert CliRunner().invoke(failing(error), ["fail"]).exit_code == code


def test_an_error_is_one_message_on_stderr_without_a_traceback() -> None:
    error = ConfigError("this was given", expected="that", next_move="Do so")
    shown = CliRunner().invoke(failing(error), ["fail"])
    assert shown.stderr == "eva: this was given. Expected that. Do so.\n"
    assert shown.stdout == ""


def test_control_characters_in_an_error_do_not_reach_the_terminal() -> None:
    shown = CliRunner().invoke(failing(ConfigError("a\x1b[2Jb\x07")), ["fail"])
    assert shown.stderr == "eva: a␛[2Jb␇.\n"


@pytest.mark.parametrize("asked", [["--debug", "fail"], ["fail"]])
def test_debug_keeps_the_traceback(asked: list[str]) -> None:
    environment = {} if "--debug" in asked else {"EVA_DEBUG": "1"}
    shown = CliRunner(env=environment).invoke(failing(ConfigError("x")), asked)
    assert isinstance(shown.exception, ConfigError)


def test_a_bug_in_the_program_is_not_hidden() -> None:
    assert isinstance(CliRunner().invoke(failing(ZeroDivisionError()), ["fail"]).exception, ZeroDivisionError)


def test_what_a_library_or_the_machine_does_is_a_message_too() -> None:
    library = CliRunner().invoke(failing(Exception("data did not match any variant")), ["fail"])
    assert library.exit_code == 4 and library.stderr.startswith("eva: a library failed with Exception: data did not")
    machine = CliRunner().invoke(failing(PermissionError(13, "Permission denied", "/etc/shadow")), ["fail"])
    assert machine.exit_code == 4 and "permission denied (/etc/shadow)" in machine.stderr
    assert "Traceback" not in library.output + machine.output


def test_ctrl_c_prints_a_message_and_exits_with_130() -> None:
    shown = CliRunner().invoke(failing(KeyboardInterrupt()), ["fail"])
    assert (shown.exit_code, shown.stderr) == (130, "eva: interrupted\n")


@pytest.mark.parametrize("command", ["eva(['--help'])", "eva(['config', '--reference'])"])
def test_a_reader_that_leaves_early_ends_the_command_quietly(command: str) -> None:
    code = f"from cli.main import eva; {command}"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("typed", "meant"), [("serv", "serve"), ("cancle", "cancel"), ("kill", "cancel"), ("ls", "runs")]
)
def test_a_command_that_does_not_exist_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    refused = CliRunner().invoke(eva, [typed])
    assert refused.exit_code == 2
    assert f"There is no command '{typed}'. Did you mean `eva {meant}`?" in refused.stderr


def test_the_help_shows_commands_in_groups() -> None:
    shown = CliRunner().invoke(eva, ["--help"]).stdout
    assert [line[:-1] for line in shown.splitlines() if line in {f"{group}:" for group in GROUPS}] == [*GROUPS]


def test_a_key_that_is_given_without_set_is_told_how_to_set_it() -> None:
    refused = CliRunner().invoke(eva, ["run", "playground", "seed=3", "iterations=1"])
    assert refused.exit_code == 2
    assert "(seed=3 iterations=1) Keys of the config are set with --set KEY=VALUE, once for each key." in refused.stderr
    assert "--set" not in CliRunner().invoke(eva, ["runs", "seed=3"]).stderr
    assert "--set" not in CliRunner().invoke(eva, ["run", "playground", "again"]).stderr


EVA = Path(sys.executable).with_name("eva")


@pytest.mark.parametrize(("typed", "completed"), [("ru", ["run", "runs"]), ("webhooks re", ["remove"])])
def test_bash_completes_commands_after_the_documented_line(typed: str, completed: list[str]) -> None:
    page = (ROOT / "docs/reference/control.md").read_text("utf-8")
    line = next(line for line in page.splitlines() if line.startswith("eval") and "bash_source" in line)
    words = " ".join(shlex.quote(word) for word in ["eva", *typed.split(" ")])
    script = (
        f"{line}\nCOMP_WORDS=({words}); COMP_CWORD={typed.count(' ') + 1}; "
        "_eva_completion eva; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    environment = {**os.environ, "PATH": f"{EVA.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == completed and not done.stderr


@pytest.mark.parametrize(("shell", "word"), [("zsh", "1"), ("fish", "ru")])
def test_other_shells_are_given_a_script_that_asks_eva(shell: str, word: str) -> None:
    def ask(instruction: str, **more: str) -> str:
        environment = {**os.environ, "_EVA_COMPLETE": f"{shell}_{instruction}", **more}
        return subprocess.run([EVA], capture_output=True, text=True, check=True, env=environment).stdout

    assert f"_EVA_COMPLETE={shell}_complete" in ask("source")
    answered = ask("complete", COMP_WORDS="eva ru", COMP_CWORD=word)
    assert "run" in answered and "runs" in answered and "replay" not in answered
