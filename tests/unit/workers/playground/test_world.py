"""The micro-world: what prompts say, what operations do, and what is refused."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.playground.world import (
    ARITY,
    EFFORT,
    LETTERS,
    MAX_LETTERS,
    MAX_OPERATIONS,
    Operation,
    PromptError,
    Task,
    parse,
    render,
    results,
    solve,
)

letters = st.sampled_from(LETTERS)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    names = draw(st.lists(st.sampled_from(list(ARITY)), min_size=1, max_size=MAX_OPERATIONS))
    chain = [Operation(name, tuple(draw(letters) for _ in range(ARITY[name]))) for name in names]
    return Task(tuple(draw(st.lists(letters, min_size=1, max_size=MAX_LETTERS))), tuple(chain))


@settings(deadline=None)
@given(tasks())
def test_a_rendered_task_parses_back_to_itself(task: Task) -> None:
    assert parse(render(task)) == task


@settings(deadline=None)
@given(tasks())
def test_every_task_has_one_step_per_operation_in_its_answer(task: Task) -> None:
    steps = solve(task).split(" ; ")
    assert [step.split(" : ")[0] for step in steps] == [str(operation) for operation in task.operations]
    assert all(len(result) <= MAX_LETTERS + MAX_OPERATIONS for result in results(task))


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_parses_or_is_refused_with_a_prompt_error(text: str) -> None:
    try:
        task = parse(text)
    except PromptError:
        return
    assert render(task) == " ".join(text.split())


def test_the_answer_of_the_example_is_the_one_computed_by_hand() -> None:
    task = parse("Take k d b p: reverse, then sort, then add c.")
    assert solve(task) == "reverse : p b d k ; sort : b d k p ; add c : b d k p c"
    assert task.difficulty == 3


@pytest.mark.parametrize(
    ("given_letters", "operation", "expected"),
    [
        ("d a d b", "keep", "d a d b"),
        ("d a d b", "reverse", "b d a d"),
        ("d a d b", "sort", "a b d d"),
        ("d a d b", "rotate", "a d b d"),
        ("d a c b", "swap", "b a c d"),
        ("d", "swap", "d"),
        ("d a d b", "chop", "d a d"),
        ("d a d b", "behead", "a d b"),
        ("d a p b", "shift", "e b a c"),
        ("d a d b a", "unique", "d a b"),
        ("d a c b e", "odds", "d c e"),
        ("d a", "add d", "d a d"),
        ("d a d b", "remove d", "a b"),
        ("d a d b", "remove p", "d a d b"),
        ("d a d b", "replace d p", "p a p b"),
        ("d", "chop", "nothing"),
        ("d d", "remove d", "nothing"),
    ],
)
def test_each_operation_does_what_was_computed_by_hand(given_letters: str, operation: str, expected: str) -> None:
    assert solve(parse(f"Take {given_letters}: {operation}.")) == f"{operation} : {expected}"


@pytest.mark.parametrize("name", [name for name in ARITY if name != "add"])
def test_nothing_stays_nothing_under_every_operation_but_add(name: str) -> None:
    assert Operation(name, ("a", "b")[: ARITY[name]]).apply(()) == ()
    assert Operation("add", ("c",)).apply(()) == ("c",)


def test_every_operation_has_an_effort() -> None:
    assert EFFORT.keys() == ARITY.keys()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a prompt of this world"),
        ("Write a poem.", "write one like"),
        ("Take k d: reverse", "not a prompt"),
        ("Take k d:reverse.", "not a prompt"),
        ("Take k d: reverse, add c.", "unknown operation 'reverse,'"),
        ("Take k d: .", "unknown operation ''"),
        ("Take : sort.", "0 letters given"),
        ("Take k z: sort.", "'z' is not a letter"),
        ("Take kd: sort.", "'kd' is not a letter"),
        ("Take K: sort.", "'K' is not a letter"),
        ("Take k d: add.", "names 0 letters: give it exactly 1"),
        ("Take k d: sort a.", "names 1 letters: give it exactly 0"),
        ("Take k d: replace a z.", "'z' is not a letter"),
        ("Take " + "a " * 15 + "a: sort.", "16 letters given"),
        ("Take a: " + "sort, then " * 6 + "sort.", "7 operations given"),
        ("Take " + "a " * 100_000, "characters"),
    ],
)
def test_a_text_that_is_not_a_prompt_is_refused_with_the_reason(text: str, told: str) -> None:
    with pytest.raises(PromptError, match=told) as caught:
        parse(text)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 300


def test_the_pure_parts_load_neither_torch_nor_transformers() -> None:
    modules = "world reward operators tasks evolver lazy_writer"
    imports = "; ".join(f"import workers.playground.{name}" for name in modules.split())
    loaded = "import sys; print(*({'torch', 'transformers', 'tokenizers'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", f"{imports}; {loaded}"], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
