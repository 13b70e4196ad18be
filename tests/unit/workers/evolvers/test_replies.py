"""What language models put around a prompt that they were asked to write."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from eva.types import Feedback, Mutation, Reply
from workers.evolvers.evol_instruct import Rewriter
from workers.evolvers.feedback import FeedbackRewriter
from workers.evolvers.replies import answer_of, prompt_of, strip_quotes

PROMPT = "Explain why it rains.\nUse two examples."


@pytest.mark.parametrize(
    "reply",
    [
        f"```\n{PROMPT}\n```",
        f"```text\n{PROMPT}\n```",
        f"~~~markdown\n{PROMPT}\n~~~",
        f"New Prompt:\n{PROMPT}",
        f"**New Prompt:** {PROMPT}",
        f"#New Prompt#:\n{PROMPT}",
        f"## Rewritten Prompt\n\n{PROMPT}",
        f"#Given Prompt#:\nWhy does it rain?\n#Rewritten Prompt#:\n{PROMPT}",
        f"Here is a more complex version:\n\n{PROMPT}",
        f"Here is a more complex version of the prompt:\n{PROMPT}",
        f'Sure! Here\u2019s the rewritten prompt:\n\n"{PROMPT}"',
        f"Sure, here you go:\n{PROMPT}",
        f"Here is the prompt:\n```\n{PROMPT}\n```\nIt asks for one more step.",
        f"Nuevo prompt: {PROMPT}",
        f"\u6539\u5199\u540e\u7684\u63d0\u793a\uff1a{PROMPT}",
        '{"prompt": "Explain why it rains.\\nUse two examples."}',
        '```json\n{"Rewritten Prompt": "Explain why it rains.\\nUse two examples.", "reason": "harder"}\n```',
        '{"answer": "Explain why it rains.\\nUse two examples."}',
        f"<new_prompt>\n{PROMPT}\n</new_prompt>",
        f"\u201e{PROMPT}\u201c",
    ],
)
def test_one_prompt_is_taken_out_of_what_surrounds_it(reply: str) -> None:
    assert prompt_of(reply) == PROMPT
    assert prompt_of(prompt_of(reply)) == PROMPT


@pytest.mark.parametrize(
    "prompt",
    [
        "Correct this code:\n```python\nprint(1\n```",
        "```python\nprint(1)\n```",
        "```\none\n```\nand\n```\ntwo\n```",
        "Here is my essay: It was night. Improve it.",
        "Here is a new version of my essay: It was night. Improve it.",
        "Question: what is rain? Answer in one word.",
        "What does the prompt of a shell show?",
        "New prompts are hard to write: say why.",
        '{"name": "x", "age": 3}',
        "[1, 2, 3]",
        'Say "rain" and "snow"',
        "New Prompt:",
        "",
    ],
)
def test_a_prompt_that_only_looks_wrapped_stays_as_it_is(prompt: str) -> None:
    assert prompt_of(prompt) == prompt


@pytest.mark.parametrize(
    "reply",
    [
        f"<think>\nHarder, then.\n</think>\n\n{PROMPT}",
        f"Harder, then. Perhaps two examples?\n</think>\n\n{PROMPT}",
        f"Harder, then.</think>\n{PROMPT}",
        f"[THINK]Harder.[/THINK]{PROMPT}",
        f"{PROMPT}<|im_end|>\n<|im_start|>user\nThanks!",
        f"<|im_start|>assistant\n{PROMPT}<|im_end|>",
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{PROMPT}<|eot_id|>",
        f"<start_of_turn>model\n{PROMPT}<end_of_turn>",
        f"<|channel|>analysis<|message|>Harder.<|end|><|start|>assistant<|channel|>final<|message|>{PROMPT}<|return|>",
        f"{PROMPT}</s>",
        f"[/INST] {PROMPT}",
        f"{PROMPT}<\uff5cend\u2581of\u2581sentence\uff5c>",
    ],
)
def test_reasoning_and_control_tokens_are_no_part_of_an_answer(reply: str) -> None:
    assert answer_of(reply) == PROMPT


def test_reasoning_that_never_ends_is_no_answer_and_other_tags_stay() -> None:
    assert answer_of("<think>Should it be harder? I") == ""
    assert answer_of("What does the tag </think> mean in R1?") == "What does the tag </think> mean in R1?"
    assert answer_of("Mark <s>old</s>") == "Mark <s>old</s>"
    assert answer_of("half an emoji \ud83d") == "half an emoji \ufffd"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (' \n"a b"\n', "a b"),
        ("\u201ca\u201d", "a"),
        ("`a`", "a"),
        ('"a" and "b"', '"a" and "b"'),
        ('say "a"', 'say "a"'),
        ('"', '"'),
        ('""', '""'),
        ("  ", ""),
        ("'tis {odd}'", "tis {odd}"),
    ],
)
def test_only_quotes_around_the_whole_reply_are_removed(raw: str, clean: str) -> None:
    assert strip_quotes(raw) == clean


class Replies:
    """A writer with these replies, in order."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts, self.asked = [*texts], list[str]()

    def ask(self, message: str, seed: int) -> Reply:
        self.asked.append(message)
        return Reply(self.texts.pop(0), 1, 2)


def test_whoever_writes_the_reply_is_read_as_a_prompt_and_a_critique_is_not() -> None:
    mutation = Mutation("Why does it rain?", "deepening", 1)
    assert Rewriter(Replies([f"New Prompt: {PROMPT}"])).evolve(mutation) == Reply(PROMPT, 1, 2)

    class Shown(FeedbackRewriter):
        def __init__(self, writer: Replies) -> None:
            Rewriter.__init__(self, writer)
            self._written, self._chars = True, 100

    writer = Replies(["New prompt: none of it.", f"```\n{PROMPT}\n```"])
    seen = Feedback("Why does it rain?", "Clouds.", 1.0, "Stones.", 0.0)
    assert Shown(writer).evolve(Mutation("Why does it rain?", "deepening", 1, feedback=seen)).text == PROMPT
    assert "New prompt: none of it." in writer.asked[1]
