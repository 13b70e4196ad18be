import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from eva.errors import PromptFileError
from eva.prompts.files import FilePrompt, read_prompt_file
from eva.types import Message


def written(folder: Path, text: str) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "line",
    [
        '{"prompt": "Hello?"}',
        '{"instruction": " Hello? "}',
        '{"id": 1, "question": "Hello?"}',
        '"Hello?"',
        '{"question_id": 81, "turns": ["Hello?", "And?"]}',
        '{"messages": [{"role": "user", "content": "Hello?"}]}',
        '\ufeff{"text": "Hello?"}',
    ],
)
def test_the_usual_shapes_of_prompt_files_are_read(tmp_path: Path, line: str) -> None:
    (prompt,) = read_prompt_file(written(tmp_path, line)).prompts
    assert (prompt.text, prompt.context) == ("Hello?", ())


def test_equal_prompts_count_once_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    found = read_prompt_file(written(tmp_path, '{"prompt": "A b"}\n\n{"prompt": "a  B"}\n{"prompt": "c"}\n'))
    assert [prompt.text for prompt in found.prompts] == ["A b", "c"] and found.repeated == 1


def test_field_topic_and_limit_are_used(tmp_path: Path) -> None:
    path = written(tmp_path, "".join(f'{{"q": "Q{number}", "prompt": "no", "t": {number}}}\n' for number in range(5)))
    assert read_prompt_file(path, field="q", topic_field="t", limit=2).prompts == (
        FilePrompt("Q0", "0"),
        FilePrompt("Q1", "1"),
    )


ROWS = [{"prompt": "Why, oh\nwhy?", "topic": "x"}, {"prompt": '日本 "quoted"', "topic": None}]


def as_table(delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["prompt", "topic"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue()


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        ("jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("json", json.dumps(ROWS, indent=1)),
        ("JSON", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("csv", as_table(",")),
        ("tsv", "\ufeff" + as_table("\t")),
    ],
)
def test_every_text_format_gives_the_same_prompts(tmp_path: Path, ending: str, content: str) -> None:
    path = tmp_path / f"prompts.{ending}"
    path.write_bytes(content.encode())
    found = read_prompt_file(path, topic_field="topic").prompts
    assert [prompt.text for prompt in found] == [row["prompt"] for row in ROWS] and found[0].topic == "x"


def test_parquet_gives_the_same_prompts_and_messages_too(tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    parquet.write_table(pa.Table.from_pylist(ROWS), path)
    assert read_prompt_file(path, topic_field="topic").prompts == (
        FilePrompt("Why, oh\nwhy?", "x"),
        FilePrompt('日本 "quoted"'),
    )
    chats = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}]
    parquet.write_table(pa.Table.from_pylist(chats), path)
    assert read_prompt_file(path).prompts == (FilePrompt("Hi"),)


def test_a_text_file_has_one_prompt_per_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("One?\n\n  Two, three?  \nOne?\n")
    found = read_prompt_file(tmp_path / "p.txt")
    assert [prompt.text for prompt in found.prompts] == ["One?", "Two, three?"] and found.repeated == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.json", "[1, 2", "is not valid JSON"),
        ("p.json", '["ok", 3]', "element 2 of"),
        ("p.csv", 'prompt,t\n"open,1\n', "line 2 of .* is not a table row"),
        ("p.csv", "a,b\n1,2\n", "line 2 of .* has the keys 'a', 'b'"),
        ("p.parquet", "PAR0", "not a readable Parquet file"),
        ("p.txt", "\n", "contains no prompt"),
    ],
)
def test_a_file_in_the_wrong_format_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(PromptFileError, match=message):
        read_prompt_file(tmp_path / name)


def said(*messages: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in messages)


TALK = said(("system", "Be brief."), ("user", "Hi"), ("assistant", "Ho"))
OPENAI = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Ho"},
    {"role": "user", "content": " Why? "},
]
SHAREGPT = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "Hi"},
    {"from": "gpt", "value": "Ho"},
    {"from": "human", "value": "Why?"},
]
PARTS = [
    {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
    *OPENAI[1:],
]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": OPENAI},
        {"prompt": OPENAI},
        {"conversations": SHAREGPT},
        {"conversation": OPENAI},
        {"messages": PARTS},
        {"conversations": SHAREGPT[1:], "system": "Be brief."},
        {"messages": json.dumps(OPENAI)},
    ],
)
def test_the_last_user_turn_of_a_conversation_is_the_prompt(tmp_path: Path, row: dict[str, object]) -> None:
    found = read_prompt_file(written(tmp_path, json.dumps(row)))
    assert found.prompts == (FilePrompt("Why?", None, TALK),) and found.cut == {}


def test_a_response_after_the_last_user_turn_is_ignored_and_counted(tmp_path: Path) -> None:
    rows = [
        {"messages": [*OPENAI, {"role": "assistant", "content": ""}]},
        {"messages": OPENAI[1:3]},
        {"prompt": "x"},
        {"turns": ["First?", "Second?"]},
    ]
    found = read_prompt_file(written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows)))
    assert found.prompts == (
        FilePrompt("Why?", None, TALK),
        FilePrompt("Hi"),
        FilePrompt("x"),
        FilePrompt("First?", later=("Second?",)),
    )
    assert found.cut == {"answers behind the last user turn": 2, "later turns without answers": 1}


def test_equal_texts_after_different_messages_are_different_prompts(tmp_path: Path) -> None:
    other = [{"role": "user", "content": "Ho"}, *OPENAI[2:]]
    rows = [
        {"messages": OPENAI},
        {"messages": other},
        {"prompt": "why?"},
        {"messages": OPENAI[-1:]},
        {"messages": [{**OPENAI[0], "content": "be  BRIEF."}, *OPENAI[1:]]},
    ]
    found = read_prompt_file(written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows)))
    assert [(prompt.text, len(prompt.context)) for prompt in found.prompts] == [("Why?", 3), ("Why?", 2), ("why?", 0)]
    assert found.repeated == 2


def test_a_column_of_system_messages_can_be_named(tmp_path: Path) -> None:
    rows = [
        {"system_prompt": "Be kind.", "question": "A?"},
        {"system_prompt": "", "question": "B?"},
        {"system_prompt": None, "question": "C?"},
    ]
    path = written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))
    kind = said(("system", "Be kind."))
    assert read_prompt_file(path, system_field="system_prompt").prompts == (
        FilePrompt("A?", None, kind),
        FilePrompt("B?"),
        FilePrompt("C?"),
    )
    assert read_prompt_file(path).prompts[0] == FilePrompt("A?")
    with pytest.raises(PromptFileError, match=r"line 1 of .*a system message under 'sys'.*prompts\.system_field"):
        read_prompt_file(path, system_field="sys")


USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([{"role": "assistant", "content": "x"}], "the messages assistant, without a user turn"),
        ([{"role": "system", "content": "x"}], "the messages system, without a user turn"),
        ([USER, {"role": "system", "content": "x"}], "a system message that is not the first"),
        (
            [USER, {"role": "tool", "content": "x"}, USER],
            "message 2 in line 1 .* has the role 'tool'.*system, developer",
        ),
        ([{"content": "x"}], r"message 1 in line 1 .* is .*\"role\": \"user\""),
        ([USER, "x"], "message 2 in line 1 .* is 'x'"),
        ([{"role": "user", "content": " "}], "message 1 in line 1 .* is empty"),
        ([{"role": "assistant", "content": None}, USER], "message 1 in line 1 .* contains no text"),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "u"}}, {"type": "text", "text": "x"}],
                }
            ],
            "message 1 in line 1 .* contains image_url.*images",
        ),
        ([{"role": "user", "content": 3}], "message 1 in line 1 .* contains int"),
    ],
)
def test_malformed_conversations_are_named_with_line_and_message(
    tmp_path: Path, messages: list[object], told: str
) -> None:
    with pytest.raises(PromptFileError, match=f"{told}.*(Correct|Rename|remove)"):
        read_prompt_file(written(tmp_path, json.dumps({"messages": messages})))


def test_a_table_holds_messages_as_json_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('messages\n"' + json.dumps(OPENAI).replace('"', '""') + '"\n')
    assert read_prompt_file(tmp_path / "p.csv").prompts == (FilePrompt("Why?", None, TALK),)
    (tmp_path / "p.csv").write_text("messages\n" + '"' + str(OPENAI) + '"\n')
    with pytest.raises(PromptFileError, match=r"line 2 of .*messages that are not valid JSON.*json\.dumps"):
        read_prompt_file(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}\n{"prompt": \n', "line 2 of"),
        ('{"prompt": "a"}\n{"prompt": "  "}\n', "line 2 of the file"),
        ('{"prompt": 3}', "line 1 of"),
        ('{"turns": []}', "line 1 of the file"),
        ('{"body": "a"}', "has the keys 'body'.*Set prompts.field"),
        ('[{"prompt": "a"}]\n', "line 1 of"),
        ("\n\n", "contains no prompt"),
        ("", "contains no prompt"),
    ],
)
def test_an_unreadable_row_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    if text.startswith("[{"):
        text = "[\n" + text
    with pytest.raises(PromptFileError, match=message):
        read_prompt_file(written(tmp_path, text))


def test_a_missing_file_a_folder_and_binary_data_have_different_errors(tmp_path: Path) -> None:
    with pytest.raises(PromptFileError, match="there is no file"):
        read_prompt_file(tmp_path / "none.jsonl")
    with pytest.raises(PromptFileError, match="is a folder"):
        read_prompt_file(tmp_path)
    (tmp_path / "binary").write_bytes(b'{"prompt": "\xff\xfe"}')
    with pytest.raises(PromptFileError, match="not UTF-8"):
        read_prompt_file(tmp_path / "binary")


@pytest.mark.parametrize("companion", ["input", "context"])
def test_what_an_instruction_is_about_is_joined_to_it(tmp_path: Path, companion: str) -> None:
    rows = [
        {"instruction": "Summarise this.", companion: "A long text.", "output": "It is long."},
        {"instruction": "Name a colour.", companion: "", "output": "Red."},
    ]
    found = read_prompt_file(written(tmp_path, "\n".join(map(json.dumps, rows))))
    assert [prompt.text for prompt in found.prompts] == ["Summarise this.\n\nA long text.", "Name a colour."]
    assert found.joined == {companion: 1} and found.unused == ("output",)


def test_an_input_beside_another_column_is_only_told(tmp_path: Path) -> None:
    found = read_prompt_file(written(tmp_path, '{"prompt": "Why?", "input": "x", "id": 3}'))
    assert found.prompts == (FilePrompt("Why?"),) and found.unused == ("input", "id") and found.joined == {}


def test_rows_without_a_prompt_are_counted_by_reason_and_left_out_only_by_choice(tmp_path: Path) -> None:
    path = written(tmp_path, '{"prompt": "a"}\n{"prompt": null}\n{"prompt": " "}\n{"prompt": null}\n{"prompt": "b"}\n')
    with pytest.raises(PromptFileError, match=r"3 rows of .* no prompt \(2 null, 1 empty\); the first is line 2"):
        read_prompt_file(path)
    found = read_prompt_file(path, skip_empty=True)
    assert [prompt.text for prompt in found.prompts] == ["a", "b"] and found.empty == {"null": 2, "empty": 1}


def test_a_conversation_as_json_in_any_column_is_read(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes."}]
    found = read_prompt_file(written(tmp_path, json.dumps({"prompt": json.dumps(talk)})))
    assert found.prompts == (FilePrompt("Hello?"),)
    plain = read_prompt_file(written(tmp_path, json.dumps({"prompt": "[1, 2] is a list. Sum it."})))
    assert plain.prompts == (FilePrompt("[1, 2] is a list. Sum it."),)


def test_tool_messages_behind_the_last_user_turn_are_left_aside(tmp_path: Path) -> None:
    talk = [
        {"role": "user", "content": "Time?"},
        {"role": "tool", "content": "12:00"},
        {"role": "assistant", "content": "Noon."},
    ]
    found = read_prompt_file(written(tmp_path, json.dumps({"messages": talk})))
    assert found.prompts == (FilePrompt("Time?"),) and found.cut == {"answers behind the last user turn": 1}
    with pytest.raises(PromptFileError, match="message 1 in line 1"):
        read_prompt_file(written(tmp_path, json.dumps({"messages": [talk[1], talk[0]]})))


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inside.jsonl", data)
    return file.getvalue()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
    ".zip": zipped,
}


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_compressed_files_are_read(tmp_path: Path, ending: str) -> None:
    rows = "".join(json.dumps({"prompt": f"Prompt é {number}?"}) + "\n" for number in range(3000))
    for name in (f"prompts.JSONL{ending}", "no-ending"):
        path = tmp_path / name
        path.write_bytes(COMPRESSIONS[ending](rows.encode()))
        prompts = read_prompt_file(path).prompts
        assert len(prompts) == 3000 and prompts[-1].text == "Prompt é 2999?"
    (tmp_path / f"table.csv{ending}").write_bytes(COMPRESSIONS[ending](b"prompt\nHello?\n"))
    assert read_prompt_file(tmp_path / f"table.csv{ending}").prompts == (FilePrompt("Hello?"),)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", '{"prompt": "Was heißt 水?"}\n'),
        ("x.json", '[{"prompt": "Was heißt 水?"}]'),
        ("x.csv", "id,prompt\r\n1,Was heißt 水?\r\n"),
        ("x.txt", "Was heißt 水?\n"),
    ],
)
def test_files_in_utf_16_are_read(tmp_path: Path, encoding: str, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert read_prompt_file(tmp_path / name).prompts == (FilePrompt("Was heißt 水?"),)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_offset_of_bytes_that_are_no_text_is_the_files_own(tmp_path: Path, ending: str, mark: bytes) -> None:
    lines = mark + b"".join(b'{"prompt": "Number %d? \xc3\xa9"}\n' % number for number in range(50_000))
    data = lines + b'{"prompt": "caf\xe9?"}\n'
    path = tmp_path / f"prompts.jsonl{ending}"
    path.write_bytes(COMPRESSIONS[ending](data) if ending else data)
    offset = data.index(b"\xe9?")
    with pytest.raises(PromptFileError, match=rf"not UTF-8 text \(.* at byte {offset:,}.*, in line 50,001\)"):
        read_prompt_file(path)


def test_a_damaged_archive_is_told(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "a"}\n' * 10_000)[:60])
    with pytest.raises(PromptFileError, match=r"prompts\.jsonl\.gz cannot be decompressed"):
        read_prompt_file(path)


def test_references_are_text_and_each_turn_has_its_own(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "gold": 4},
        {"prompt": "b", "gold": ["x", "y"]},
        {"prompt": "c", "gold": "  "},
        {"prompt": "d"},
        {"turns": ["e", "e2"], "gold": ["first", 2]},
        {"turns": ["f", "f2"], "gold": "only one"},
    ]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = read_prompt_file(path, reference_field="gold")
    assert [prompt.reference for prompt in file.prompts] == ["4", '["x", "y"]', None, None, "first", "only one"]
    assert [prompt.later_references for prompt in file.prompts[-2:]] == [("2",), ()]
    assert "gold" not in file.unused
    assert all(prompt.reference is None for prompt in read_prompt_file(path).prompts)
