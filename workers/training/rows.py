"""Turns preference pairs into token ids: the prompt as the engines saw it, the response, the end of the turn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from eva.errors import TrainingFailedError
from eva.types import Message
from workers.models.chat_template import PromptEncoder, UnusablePromptError

Row = dict[str, Any]
"""`prompt_ids`, `chosen_ids`, `rejected_ids` for TRL's collator, with both rewards if the loss needs them. Of a ranked
row: `prompt_ids`, `responses_ids` and `rewards`, lists over responses, best first."""
_REWARDS = ("chosen_reward", "rejected_reward")
_MARK = "qzqz"


@dataclass(frozen=True, slots=True)
class Rows:
    """The trainer's rows, and the number of pairs that cannot be used, by reason."""

    rows: tuple[Row, ...]
    dropped: Mapping[str, int]


def read_pairs(path: Path) -> Iterator[dict[str, Any]]:
    """Reads a JSONL file of preference pairs. Raises TrainingFailedError with the number of a malformed line."""
    try:
        # `splitlines` would also split at U+2028 and the like, which JSON allows inside strings.
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TrainingFailedError(f"The pairs cannot be read: {error}", next_move="Resume the run") from error
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), 1):
        try:
            row = json.loads(line)
            pair = {key: row[key] for key in ("prompt", "chosen", "rejected")}
            pair["number"] = row.get("number", number)
            pair["context"] = tuple(Message(one["role"], one["content"]) for one in row.get("context", ()))
            pair |= {key: float(row[key]) for key in _REWARDS if key in row}
            yield pair | {key: bool(row.get(key)) for key in ("chosen_cut", "rejected_cut")}
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingFailedError(
                f"{path}, line {number}, is not a preference pair: {error!r}",
                expected="JSON with `prompt`, `chosen`, `rejected`",
                next_move="Resume the run: the pairs are then written again",
            ) from error


def encode(
    pairs: Iterable[Mapping[str, Any]],
    encoder: PromptEncoder,
    *,
    max_length: int,
    end: int,
    max_prompt_length: int | None = None,
    rewards: bool = False,
    widest_first: bool = False,
) -> Rows:
    """Token ids of every pair, each response ended by `end` unless it was cut; pairs of no use are counted.

    `rewards` keeps the pair's two rewards in its row. `widest_first`: by falling margin; equal ones keep their order.
    """
    if widest_first:
        pairs = sorted(pairs, key=lambda pair: pair["rejected_reward"] - pair["chosen_reward"])
    dropped: Counter[str] = Counter()
    rows: list[Row] = []
    for pair in pairs:
        try:
            row = _encode_pair(pair, encoder, end)
        except UnusablePromptError:
            dropped["the prompt cannot be encoded"] += 1
            continue
        if len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) > max_length:
            dropped[f"longer than {max_length} tokens"] += 1
        elif max_prompt_length is not None and len(row["prompt_ids"]) > max_prompt_length:
            dropped[f"prompt longer than {max_prompt_length} tokens"] += 1
        elif row["chosen_ids"] == row["rejected_ids"]:
            dropped["chosen and rejected are the same tokens"] += 1
        else:
            rows.append(row | {key: pair[key] for key in _REWARDS} if rewards else row)
    return Rows(tuple(rows), dict(dropped))


def encode_ranked(
    pairs: Iterable[dict[str, Any]],
    encoder: PromptEncoder,
    *,
    max_length: int,
    end: int,
    max_prompt_length: int | None = None,
    widest_first: bool = False,
) -> Rows:
    """Token ids of every prompt with the responses of its pairs, best first; responses of no use are counted.

    Pairs of one prompt stand behind each other. Responses with equal rewards keep the order of the pairs.
    `widest_first`: prompts by falling gap between their best and worst response.
    """
    dropped: Counter[str] = Counter()
    rows: list[Row] = []
    for _, of_prompt in groupby(pairs, key=itemgetter("number")):
        ranked = _ranked([*of_prompt])
        prompt = ranked[0]["prompt"], ranked[0]["context"]
        try:
            prompt_ids = encoder.encode(*prompt)
        except UnusablePromptError:
            dropped["the prompt cannot be encoded"] += len(ranked)
            continue
        if max_prompt_length is not None and len(prompt_ids) > max_prompt_length:
            dropped[f"prompt longer than {max_prompt_length} tokens"] += len(ranked)
            continue
        kept: dict[tuple[int, ...], float] = {}
        for response in ranked:
            ids = encode_response(encoder.tokenizer, prompt_ids, response["text"])
            ids = ids if response["cut"] else [*ids, end]
            if len(prompt_ids) + len(ids) > max_length:
                dropped[f"longer than {max_length} tokens"] += 1
            elif tuple(ids) in kept:
                dropped["two responses are the same tokens"] += 1
            else:
                kept[tuple(ids)] = response["reward"]
        if len(kept) > 1:
            rows.append(
                {"prompt_ids": prompt_ids, "responses_ids": [[*ids] for ids in kept], "rewards": [*kept.values()]}
            )
        else:
            dropped["the only response left of its prompt"] += len(kept)
    if widest_first:
        rows.sort(key=lambda row: row["rewards"][-1] - row["rewards"][0])
    return Rows(tuple(rows), {reason: count for reason, count in dropped.items() if count})


def _ranked(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The different responses of a prompt's pairs, by falling reward."""
    responses: dict[str, dict[str, Any]] = {}
    for side in ("chosen", "rejected"):
        for pair in pairs:
            response = {"text": pair[side], "cut": pair[f"{side}_cut"], "reward": pair[f"{side}_reward"]}
            responses.setdefault(pair[side], response | {key: pair[key] for key in ("prompt", "context")})
    return sorted(responses.values(), key=lambda response: -response["reward"])


def _encode_pair(pair: Mapping[str, Any], encoder: PromptEncoder, end: int) -> Row:
    prompt_ids = encoder.encode(pair["prompt"], pair.get("context", ()))
    ids = {"prompt_ids": prompt_ids}
    for side in ("chosen", "rejected"):
        response_ids = encode_response(encoder.tokenizer, prompt_ids, pair[side])
        ids[f"{side}_ids"] = response_ids if pair.get(f"{side}_cut") else [*response_ids, end]
    return ids


def encode_response(tokenizer: Any, prompt_ids: list[int], text: str) -> list[int]:
    """Returns tokens that decode, after the prompt, to exactly `text`.

    Some tokenizers add a blank before every text, or remove one when decoding from the start. So the text is encoded
    as it is, without its first blank, and after a line break; the first encoding that decodes to `text` is used.
    """
    plain = _plain(tokenizer, text)
    before = _decode(tokenizer, prompt_ids)
    candidates = [plain, _behind_line_break(tokenizer, text)]
    if text.startswith(" "):
        candidates.insert(1, _plain(tokenizer, text[1:]))
    wanted = before + text
    return next((ids for ids in candidates if _decode(tokenizer, prompt_ids + ids) == wanted), plain)


def end_of_turn(folder: Path, tokenizer: Any, *, chat: bool) -> int:
    """Returns the token that ends a response: the one that the template writes, if engines stop at it, otherwise EOS.

    Gemma's template ends a turn with <end_of_turn>, not with the tokenizer's EOS.
    Raises TrainingFailedError if there is none.
    """
    if chat:
        messages = [{"role": "user", "content": _MARK}, {"role": "assistant", "content": _MARK}]
        rendered = str(tokenizer.apply_chat_template(messages, tokenize=False))
        behind = _plain(tokenizer, rendered.rpartition(_MARK)[2].lstrip())
        if behind and behind[0] in stop_ids(folder, tokenizer):
            return behind[0]
    if tokenizer.eos_token_id is None:
        raise TrainingFailedError(
            "The tokenizer has no EOS token",
            expected="a token that ends a response",
            next_move="Set eos_token in the model's tokenizer_config.json",
        )
    return int(tokenizer.eos_token_id)


def stop_ids(folder: Path, tokenizer: Any) -> set[int]:
    """Returns all tokens at which engines end a response, from the generation config and the tokenizer."""
    ids = {tokenizer.eos_token_id}
    file = folder / "generation_config.json"
    if file.is_file():
        configured = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
        ids.update(configured if isinstance(configured, list) else [configured])
    return {int(token) for token in ids if token is not None}


def _plain(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _behind_line_break(tokenizer: Any, text: str) -> list[int]:
    mark = _plain(tokenizer, "\n")
    return _plain(tokenizer, "\n" + text)[len(mark) :]


def _decode(tokenizer: Any, token_ids: list[int]) -> str:
    return str(tokenizer.decode(token_ids, clean_up_tokenization_spaces=False))
