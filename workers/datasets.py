"""Prompts from a dataset on the hub, or from a folder that `save_to_disk` wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from eva.config import Prompts
from eva.errors import PromptFileError
from eva.library_failures import first_line
from eva.prompts.files import PromptFile, read_prompts
from eva.prompts.rows import Row


def read_dataset(config: Prompts, on_rows: Callable[[int], object] | None = None) -> PromptFile:
    """Reads the prompts of `config.dataset`; `on_rows` as in `read_prompts`. Raises PromptFileError."""
    source = str(config.dataset)
    rows = _saved(source, config.split) if Path(source).is_dir() else _hub(source, config.split)
    return read_prompts(
        rows,
        source,
        field=config.field,
        topic_field=config.topic_field,
        system_field=config.system_field,
        reference_field=config.reference_field,
        limit=config.limit,
        skip_empty=config.skip_empty,
        on_rows=on_rows,
    )


def _saved(folder: str, split: str) -> Iterator[Row]:
    import datasets

    try:
        loaded: Any = datasets.load_from_disk(folder)
    except Exception as error:  # arrow and datasets raise anything
        raise PromptFileError(
            f"{folder} holds no saved dataset ({first_line(error)})",
            expected="a folder that save_to_disk wrote",
            next_move="Save it with Dataset.save_to_disk, or name a file under prompts.path",
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        if split not in loaded:
            raise PromptFileError(
                f"{folder} has the splits {', '.join(map(str, loaded))}",
                expected=f"one named {split!r}",
                next_move="Set prompts.split",
            )
        loaded = loaded[split]
    return _rows(loaded)


def _hub(name: str, split: str) -> Iterator[Row]:
    import datasets

    try:
        return _rows(datasets.load_dataset(name, split=split))
    except Exception as error:  # the hub, arrow and datasets raise anything
        raise PromptFileError(
            f"the dataset {name!r}, split {split!r}, cannot be loaded ({first_line(error)})",
            expected="a dataset on the hub that can be reached or is in the cache, or an existing folder",
            next_move="Check the name. Without a network, save it elsewhere with Dataset.save_to_disk(FOLDER) and set "
            "prompts.dataset to that folder",
        ) from error


def _rows(dataset: Any) -> Iterator[Row]:
    return ((f"row {number}", row) for number, row in enumerate(dataset, 1))
