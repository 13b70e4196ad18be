from __future__ import annotations

from pathlib import Path

import pytest

from eva.config import Model
from eva.errors import ModelError
from tests.support import tiny_models
from workers.models.chat_template import PromptEncoder, Prompting, UnusablePromptError, read_prompting


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.llama(tmp_path_factory.mktemp("model")))


@pytest.mark.parametrize(
    "prompting", [Prompting("chat"), Prompting("none"), Prompting("chat", system_prompt="Be kind")]
)
def test_a_prompt_gets_exactly_one_bos(folder: str, prompting: Prompting) -> None:
    encoder = PromptEncoder(folder, prompting)
    ids = encoder.encode("Hello")
    assert ids.count(encoder.tokenizer.bos_token_id) == 1 and ids[0] == encoder.tokenizer.bos_token_id


def test_the_system_prompt_and_the_role_are_in_what_the_model_reads(folder: str) -> None:
    encoder = PromptEncoder(folder, Prompting(system_prompt="Be kind"))
    assert encoder.tokenizer.decode(encoder.encode("Hi")[1:]) == "[Be kind]<user>Hi<assistant>"


def test_without_a_template_the_text_is_read_as_it_is(folder: str) -> None:
    encoder = PromptEncoder(folder, Prompting("none"))
    assert encoder.tokenizer.decode(encoder.encode("Hi")[1:]) == "Hi"


def test_a_model_without_chat_template_says_what_to_set(tmp_path: Path) -> None:
    bare = tiny_models.llama(tmp_path / "bare", chat_template=False)
    with pytest.raises(ModelError, match=r"no chat template.*model\.template: none"):
        PromptEncoder(str(bare), Prompting("chat"))
    assert PromptEncoder(str(bare), Prompting("none")).encode("x")


def test_a_template_of_the_config_replaces_the_models(folder: str, tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text("{{ messages[0]['content'] }}!")
    encoder = PromptEncoder(folder, read_prompting(Model(path=folder, chat_template=str(tmp_path / "t.jinja"))))
    assert encoder.tokenizer.decode(encoder.encode("Hi")) == "Hi!"


def test_a_template_that_refuses_the_system_role_is_an_error_at_once(folder: str) -> None:
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}x"
    with pytest.raises(ModelError, match=r"no system.*system_prompt"):
        PromptEncoder(folder, Prompting("chat", refusing, "Be kind"))


@pytest.mark.parametrize("text", ["a lone surrogate \ud800"])
def test_a_text_that_cannot_be_tokenised_is_a_failure_of_the_data(folder: str, text: str) -> None:
    with pytest.raises(UnusablePromptError, match="cannot be encoded"):
        PromptEncoder(folder, Prompting()).encode(text)


def test_a_template_that_fails_on_one_prompt_is_a_failure_of_the_data(folder: str) -> None:
    choking = "{% if 'bad' in messages[0]['content'] %}{{ raise_exception('choked') }}{% endif %}x"
    encoder = PromptEncoder(folder, Prompting("chat", choking))
    with pytest.raises(UnusablePromptError, match="choked"):
        encoder.encode("bad one")


def test_a_prompt_without_tokens_is_a_failure_of_the_data(folder: str) -> None:
    with pytest.raises(UnusablePromptError, match="no tokens"):
        PromptEncoder(folder, Prompting("chat", "{{ messages[0]['content'] }}")).encode("")


def test_an_unreadable_template_file_is_named() -> None:
    with pytest.raises(ModelError, match=r"nowhere\.jinja"):
        read_prompting(Model(path="x", chat_template="nowhere.jinja"))
