"""The micro-world: a prompt names some letters and a chain of operations; the correct result is computed.

    Take k d b p: reverse, then sort, then add c.
    reverse : p b d k ; sort : b d k p ; add c : b d k p c

Letters run from a to p. Every operation is defined on every list of letters, the empty one
included: an empty result is written `nothing`, and stays empty until something is added.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

LETTERS = "abcdefghijklmnop"
MAX_LETTERS = 14
MAX_OPERATIONS = 6
NOTHING = "nothing"

Letters = tuple[str, ...]


class PromptError(ValueError):
    """The text or the task does not belong to this world."""


def _next_letter(letter: str) -> str:
    return LETTERS[(LETTERS.index(letter) + 1) % len(LETTERS)]


def _swap(letters: Letters) -> Letters:
    return (letters[-1], *letters[1:-1], letters[0]) if len(letters) > 1 else letters


def _remove(letters: Letters, unwanted: str) -> Letters:
    return tuple(letter for letter in letters if letter != unwanted)


def _replace(letters: Letters, old: str, new: str) -> Letters:
    return tuple(new if letter == old else letter for letter in letters)


# Operation name -> (number of letters it names, what it does).
_RULES: dict[str, tuple[int, Callable[..., Letters]]] = {
    "keep": (0, lambda letters: letters),
    "reverse": (0, lambda letters: letters[::-1]),
    "sort": (0, lambda letters: tuple(sorted(letters))),
    "rotate": (0, lambda letters: letters[1:] + letters[:1]),
    "swap": (0, _swap),
    "chop": (0, lambda letters: letters[:-1]),
    "behead": (0, lambda letters: letters[1:]),
    "shift": (0, lambda letters: tuple(map(_next_letter, letters))),
    "unique": (0, lambda letters: tuple(dict.fromkeys(letters))),
    "odds": (0, lambda letters: letters[::2]),
    "add": (1, lambda letters, letter: (*letters, letter)),
    "remove": (1, _remove),
    "replace": (2, _replace),
}
ARITY = {name: arity for name, (arity, _) in _RULES.items()}

# How much work an operation is: 0 copies, 1 touches one end, 2 moves or drops letters, 3 looks at each.
EFFORT = {
    "keep": 0,
    **dict.fromkeys(("add", "chop", "behead"), 1),
    **dict.fromkeys(("swap", "rotate", "reverse", "remove"), 2),
    **dict.fromkeys(("unique", "odds", "sort", "shift", "replace"), 3),
}


def _refuse_non_letters(letters: Iterable[str]) -> None:
    for letter in letters:
        if len(letter) != 1 or letter not in LETTERS:
            raise PromptError(f"{letter[:20]!r} is not a letter of this world: use a to p, one by one")


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a chain: `sort`, `add c`, `replace a b`."""

    name: str
    arguments: Letters = ()

    def __post_init__(self) -> None:
        if self.name not in ARITY:
            raise PromptError(f"unknown operation {self.name[:20]!r}: use one of {', '.join(ARITY)}")
        if len(self.arguments) != ARITY[self.name]:
            given, expected = len(self.arguments), ARITY[self.name]
            raise PromptError(f"operation {self.name!r} names {given} letters: give it exactly {expected}")
        _refuse_non_letters(self.arguments)

    def __str__(self) -> str:
        return " ".join((self.name, *self.arguments))

    def apply(self, letters: Letters) -> Letters:
        return _RULES[self.name][1](letters, *self.arguments)


@dataclass(frozen=True, slots=True)
class Task:
    """What a prompt asks for. Its difficulty is the number of its operations."""

    letters: Letters
    operations: tuple[Operation, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.letters) <= MAX_LETTERS:
            raise PromptError(f"{len(self.letters)} letters given: a task takes 1 to {MAX_LETTERS} of them")
        if not 1 <= len(self.operations) <= MAX_OPERATIONS:
            raise PromptError(f"{len(self.operations)} operations given: a task chains 1 to {MAX_OPERATIONS} of them")
        _refuse_non_letters(self.letters)

    @property
    def difficulty(self) -> int:
        return len(self.operations)


_PROMPT = re.compile(r"Take ([^:]*):([^:]*)\.")
_MAX_PROMPT_CHARACTERS = 1_000


def parse(text: str) -> Task:
    """Returns the task that a prompt states. Runs of white space count as one blank; the rest must be exact.

    Raises PromptError, which is a ValueError, when the text is not a prompt of this world.
    """
    if len(text) > _MAX_PROMPT_CHARACTERS:
        raise PromptError(f"the prompt has {len(text)} characters: at most {_MAX_PROMPT_CHARACTERS} are read")
    plain = " ".join(text.split())
    match = _PROMPT.fullmatch(plain)
    task = _read_task(*match.groups()) if match else None
    if task is None or render(task) != plain:
        raise PromptError(
            f"not a prompt of this world: {text[:60]!r}; write one like 'Take k d b p: reverse, then add c.'"
        )
    return task


def _read_task(letters: str, chain: str) -> Task:
    steps = (step.split() or [""] for step in chain.split(", then "))
    return Task(tuple(letters.split()), tuple(Operation(name, tuple(named)) for name, *named in steps))


def render(task: Task) -> str:
    """Returns the prompt that states a task. The inverse of `parse`."""
    return f"Take {' '.join(task.letters)}: {', then '.join(map(str, task.operations))}."


def write_letters(letters: Letters) -> str:
    return " ".join(letters) or NOTHING


def read_letters(text: str) -> Letters:
    """Returns the words of a written result. `nothing` alone means no letters."""
    words = tuple(text.split())
    return () if words == (NOTHING,) else words


def results(task: Task) -> tuple[Letters, ...]:
    """Returns the result of each operation in order; the last one is the solution."""
    results: list[Letters] = []
    letters = task.letters
    for operation in task.operations:
        letters = operation.apply(letters)
        results.append(letters)
    return tuple(results)


def write_steps(task: Task, steps: int) -> str:
    """Writes out the first `steps` operations, each with its result."""
    pairs = zip(task.operations[:steps], results(task)[:steps], strict=True)
    return " ; ".join(f"{operation} : {write_letters(letters)}" for operation, letters in pairs)


def solve(task: Task) -> str:
    """Returns the complete, correct response."""
    return write_steps(task, len(task.operations))
