"""Token for token: what is trained on is what the engines were given, what they answered, and the end."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from eva.errors import TrainingFailedError
from tests.support.tiny_models import BOS, EOS, tokenizer
from workers.models.chat_template import PromptEncoder, Prompting
from workers.training.rows import encode, encode_ranked, encode_response, end_of_turn, read_pairs

PAIRS = [{"prompt": "What is 1+1?", "chosen": "two", "rejected": "three, I think"}]


def encoder(folder: Path, words: Any, template: str = "chat", system: str | None = None) -> PromptEncoder:
    words.save_pretrained(folder)
    return PromptEncoder(str(folder), Prompting("chat" if template == "chat" else "none", None, system))


def text_of(made: PromptEncoder, ids: list[int]) -> str:
    return made.tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize(
    ("template", "system", "text"),
    [
        ("chat", None, f"{BOS}<user>What is 1+1?<assistant>two{EOS}"),
        ("chat", "Be brief.", f"{BOS}[Be brief.]<user>What is 1+1?<assistant>two{EOS}"),
        ("none", None, f"{BOS}What is 1+1?two{EOS}"),
    ],
)
def test_a_row_is_the_prompt_as_the_engine_got_it_the_response_and_one_eos(
    tmp_path: Path, template: str, system: str | None, text: str
) -> None:
    made = encoder(tmp_path, tokenizer(chat_template=template == "chat"), template, system)
    (row,) = encode(PAIRS, made, max_length=100, end=made.tokenizer.eos_token_id).rows
    assert row["prompt_ids"] == made.encode("What is 1+1?")
    assert text_of(made, row["prompt_ids"] + row["chosen_ids"]) == text
    assert [ids.count(made.tokenizer.bos_token_id) for ids in row.values()] == [1, 0, 0]
    assert [ids.count(made.tokenizer.eos_token_id) for ids in row.values()] == [0, 1, 1]


def prefix_space_tokenizer() -> PreTrainedTokenizerFast:
    """Like Llama 2's: every text gets a blank before it, and loses one when decoded from its start."""
    words = ["<unk>", "<s>", "</s>", "▁", "▁Hello", "Hello", "▁there", "[", "]", "x"]
    inner = Tokenizer(models.Unigram([(word, -1.0) for word in words], unk_id=0))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    inner.decoder = decoders.Metaspace(prepend_scheme="always")
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False)
    made.add_special_tokens({"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"})
    return made


def test_a_response_keeps_its_first_blank_and_gets_no_second_one() -> None:
    words = prefix_space_tokenizer()
    prompt_ids = words.encode("[x]")
    response_ids = [4, 6]  # ▁Hello ▁there
    behind = len(str(words.decode(prompt_ids)))
    answered = str(words.decode([*prompt_ids, *response_ids]))[behind:]
    assert answered == " Hello there"
    assert encode_response(words, prompt_ids, answered) == response_ids


@pytest.mark.parametrize("text", ["", " ", "two", " two", "\ntwo\n", "é — 漢字", "<assistant>", "a  b "])
def test_a_byte_level_response_reads_back_as_it_was_written(text: str) -> None:
    words = tokenizer()
    assert words.decode(encode_response(words, words("prompt")["input_ids"], text)) == text


def test_rows_that_are_too_long_or_equal_are_dropped_and_counted_never_cut(tmp_path: Path) -> None:
    made = encoder(tmp_path, tokenizer())
    pairs = [
        *PAIRS,
        {"prompt": "p", "chosen": "same", "rejected": "same"},
        {"prompt": "p", "chosen": "x" * 80, "rejected": "short"},
        {"prompt": "p" * 80, "chosen": "a", "rejected": "b"},
    ]
    found = encode(pairs, made, max_length=60, end=2)
    assert len(found.rows) == 1
    assert found.dropped == {"chosen and rejected are the same tokens": 1, "longer than 60 tokens": 2}


def test_a_row_of_exactly_the_longest_length_is_kept(tmp_path: Path) -> None:
    made = encoder(tmp_path, tokenizer())
    (row,) = encode(PAIRS, made, max_length=100, end=2).rows
    longest = len(row["prompt_ids"]) + len(row["rejected_ids"])
    assert len(encode(PAIRS, made, max_length=longest, end=2).rows) == 1
    assert len(encode(PAIRS, made, max_length=longest - 1, end=2).rows) == 0


TURNS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<turn>\n{% endfor %}<assistant>"


@pytest.mark.parametrize(("stops", "expected"), [([2, 300], "<turn>"), (2, EOS), (None, EOS)])
def test_a_turn_ends_with_the_templates_token_if_engines_stop_at_it(
    tmp_path: Path, stops: object, expected: str
) -> None:
    words = tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    words.chat_template = TURNS
    turn = words.convert_tokens_to_ids("<turn>")
    if stops is not None:
        named = [turn if token == 300 else token for token in stops] if isinstance(stops, list) else stops
        (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": named}))
    assert end_of_turn(tmp_path, words, chat=True) == words.convert_tokens_to_ids(expected)
    assert end_of_turn(tmp_path, words, chat=False) == words.eos_token_id


def test_a_tokenizer_without_an_eos_token_is_an_error(tmp_path: Path) -> None:
    words = tokenizer()
    words.eos_token = None
    with pytest.raises(TrainingFailedError, match="no EOS token"):
        end_of_turn(tmp_path, words, chat=False)


def test_pairs_are_read_in_order_and_other_keys_ignored(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    rows = [{"number": number, "prompt": f"p\u2028{number}", "chosen": "a", "rejected": "b"} for number in range(3)]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert [row["prompt"] for row in read_pairs(file)] == [f"p\u2028{number}" for number in range(3)]


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"prompt": "p", "chosen": "c"}'])
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"prompt": "p", "chosen": "c", "rejected": "r"}) + "\n" + line + "\n")
    with pytest.raises(TrainingFailedError, match=r"pairs\.jsonl, line 2, is not a preference pair"):
        list(read_pairs(file))


def test_a_missing_file_of_pairs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailedError, match="The pairs cannot be read"):
        list(read_pairs(tmp_path / "absent.jsonl"))


def test_a_cut_response_is_not_taught_to_end_its_turn(tmp_path: Path) -> None:
    made = encoder(tmp_path, tokenizer())
    (whole,) = encode(PAIRS, made, max_length=99, end=2).rows
    (cut,) = encode([PAIRS[0] | {"chosen_cut": True}], made, max_length=99, end=2).rows
    assert whole["chosen_ids"] == [*cut["chosen_ids"], 2]
    assert whole["rejected_ids"] == cut["rejected_ids"] and cut["rejected_ids"][-1] == 2


def pair(number: int, chosen: tuple[str, float], rejected: tuple[str, float], **cut: bool) -> dict[str, Any]:
    return {
        "number": number,
        "prompt": f"p{number}",
        "context": (),
        "chosen": chosen[0],
        "rejected": rejected[0],
        "chosen_reward": chosen[1],
        "rejected_reward": rejected[1],
        "chosen_cut": False,
        "rejected_cut": False,
    } | cut


def test_the_pairs_of_a_prompt_become_one_row_of_its_responses_best_first(tmp_path: Path) -> None:
    made = encoder(tmp_path, tokenizer())
    pairs = [
        pair(1, ("best", 3.0), ("cut", -1.0), rejected_cut=True),
        pair(1, ("best", 3.0), ("second", 2.0)),
        pair(2, ("a", 1.0), ("b", 0.0)),
    ]
    first, second = encode_ranked(pairs, made, max_length=100, end=2).rows
    assert first["rewards"] == [3.0, 2.0, -1.0]
    assert [text_of(made, ids) for ids in first["responses_ids"]] == [f"best{EOS}", f"second{EOS}", "cut"]
    assert text_of(made, first["prompt_ids"]) == f"{BOS}<user>p1<assistant>"
    assert second["rewards"] == [1.0, 0.0]


def test_a_response_that_is_too_long_is_left_out_and_a_prompt_with_one_response_as_well(tmp_path: Path) -> None:
    made = encoder(tmp_path, tokenizer())
    pairs = [
        pair(1, ("best", 3.0), ("x" * 80, 2.0)),
        pair(1, ("best", 3.0), ("worst", 1.0)),
        pair(2, ("a", 1.0), ("y" * 80, 0.0)),
    ]
    found = encode_ranked(pairs, made, max_length=60, end=2)
    assert [row["rewards"] for row in found.rows] == [[3.0, 1.0]]
    assert found.dropped == {"longer than 60 tokens": 2, "the only response left of its prompt": 1}


def test_the_widest_margins_come_first_and_equal_ones_keep_their_order(tmp_path: Path) -> None:
    made = encoder(tmp_path, tokenizer())
    pairs = [pair(number, ("a", gap), ("b", 0.0)) for number, gap in enumerate([1.0, 3.0, 1.0, 2.0])]
    for encode_rows in (encode, encode_ranked):
        rows = encode_rows(pairs, made, max_length=60, end=2, widest_first=True).rows
        prompts = [text_of(made, row["prompt_ids"]) for row in rows]
        assert prompts == [f"{BOS}<user>p{number}<assistant>" for number in (1, 3, 0, 2)]
