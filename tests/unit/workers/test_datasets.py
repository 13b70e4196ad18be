from pathlib import Path

import datasets
import pytest

from eva.config import Prompts
from eva.errors import PromptFileError
from eva.prompts.files import FilePrompt
from workers.datasets import read_dataset


def test_a_saved_dataset_gives_its_prompts_with_topics(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list([{"q": f"Question {number}?", "t": "maths"} for number in (1, 2, 2)])
    rows.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(str(tmp_path / "split"))
    config = Prompts(dataset=str(tmp_path / "one"), field="q", topic_field="t")
    found = read_dataset(config)
    assert found.prompts == (FilePrompt("Question 1?", "maths"), FilePrompt("Question 2?", "maths"))
    assert found.repeated == 1
    test = Prompts(dataset=str(tmp_path / "split"), split="test", field="q")
    assert [prompt.text for prompt in read_dataset(test).prompts] == ["Question 1?"]
    with pytest.raises(PromptFileError, match="has the splits train, test"):
        read_dataset(Prompts(dataset=str(tmp_path / "split"), split="dev"))


def test_a_folder_without_a_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptFileError, match=r"holds no saved dataset.*save_to_disk"):
        read_dataset(Prompts(dataset=str(tmp_path)))


def test_without_a_network_a_hub_id_fails_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, split: str) -> None:
        raise ConnectionError(f"couldn't reach {name} on the hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(PromptFileError, match=r"'someone/prompts', split 'train', cannot .*save_to_disk\(FOLDER"):
        read_dataset(Prompts(dataset="someone/prompts"))
