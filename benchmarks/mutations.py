"""Random mistakes in a DeepSpeed config: one key changed as people change it wrongly."""

from __future__ import annotations

import copy
import json
import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hotfire.dsconfig.batch_size import ACCUMULATION, MICRO, TRAIN
from hotfire.dsconfig.hjson_reader import escape

BATCH = (TRAIN, MICRO, ACCUMULATION)
_ZERO = "/zero_optimization"
#: Read by stage 3 alone, without its prefix (deepspeed/runtime/zero/config.py and stage3.py).
_ONLY_STAGE_3 = (
    *("offload_param", "sub_group_size", "max_live_parameters", "max_reuse_distance", "prefetch_bucket_size"),
    *("param_persistence_threshold", "gather_16bit_weights_on_model_save", "zero_hpz_partition_size"),
    *("zero_quantized_weights", "zero_quantized_gradients", "memory_efficient_linear"),
)


class Kind(StrEnum):
    """What is done to the key."""

    TYPO = "typo"
    WRONG_SECTION = "wrong section"
    TEXT = "number as string"
    STAGE = "stage changed under stage-3 keys"
    OFF_BY_ONE = "batch number off by one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One config with one mistake.

    Attributes:
        kind: What was done.
        pointer: The key as it stood in the original.
        new_pointer: The same key in `config`; differs where its name or its section was changed.
        config: The config with the mistake.
        stage3_keys: Of a changed stage: the keys that are thereby without effect.
    """

    kind: Kind
    pointer: str
    new_pointer: str
    config: dict[str, Any]
    stage3_keys: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """For a table."""
        if self.new_pointer != self.pointer:
            return f"{self.pointer} -> {self.new_pointer}"
        return f"{self.pointer} = {json.dumps(at(self.config, self.pointer))}"


def at(config: dict[str, Any], pointer: str) -> Any:
    """The value at a pointer that is there."""
    node: Any = config
    for token in _tokens(pointer):
        node = node[token]
    return node


def with_value(config: dict[str, Any], pointer: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a pointer (or a new key, in a section that is there)."""
    result = copy.deepcopy(config)
    *above, name = _tokens(pointer)
    node: Any = result
    for token in above:
        node = node[token]
    node[name] = value
    return result


def keys(config: dict[str, Any], pointer: str = "") -> Iterator[str]:
    """Pointers of every key of every section; comments (keys that begin with `_`) left out."""
    for name, value in config.items():
        if str(name).startswith("_"):
            continue
        here = f"{pointer}/{escape(str(name))}"
        yield here
        if isinstance(value, dict):
            yield from keys(value, here)


def mutate(config: dict[str, Any], source: random.Random) -> Mutation | None:
    """One random mistake; None where the kind that was drawn has nothing to change in this config."""
    kind = source.choice(list(Kind))
    return _MAKERS[kind](config, source)


def _typo(config: dict[str, Any], source: random.Random) -> Mutation | None:
    pointers = list(keys(config))
    if not pointers:
        return None
    pointer = source.choice(pointers)
    above, _, escaped = pointer.rpartition("/")
    name = _tokens("/" + escaped)[0]
    section = at(config, above) if above else config
    wrong = _misspelt(name, source)
    if wrong in section or not wrong or wrong.startswith("_"):
        return None
    return _renamed(Kind.TYPO, config, pointer, f"{above}/{escape(wrong)}")


def _misspelt(name: str, source: random.Random) -> str:
    """One slip: a letter left out, doubled, replaced, or two neighbours swapped."""
    place = source.randrange(len(name))
    match source.choice(("left out", "doubled", "replaced", "swapped")):
        case "left out":
            return name[:place] + name[place + 1 :]
        case "doubled":
            return name[: place + 1] + name[place:]
        case "replaced":
            return name[:place] + source.choice(string.ascii_lowercase) + name[place + 1 :]
        case _:
            place = min(place, len(name) - 2)
            return name[:place] + name[place + 1] + name[place] + name[place + 2 :] if place >= 0 else ""


def _wrong_section(config: dict[str, Any], source: random.Random) -> Mutation | None:
    pointers = list(keys(config))
    sections = ["", *(p for p in pointers if isinstance(at(config, p), dict))]
    if not pointers or len(sections) < 2:
        return None
    pointer, section = source.choice(pointers), source.choice(sections)
    above, _, name = pointer.rpartition("/")
    inside_itself = section == pointer or section.startswith(pointer + "/")
    there = at(config, section) if section else config
    if section == above or inside_itself or _tokens("/" + name)[0] in there:
        return None
    return _renamed(Kind.WRONG_SECTION, config, pointer, f"{section}/{name}")


def _renamed(kind: Kind, config: dict[str, Any], pointer: str, new: str) -> Mutation:
    """The key under another name, in its place where it stays in its section."""
    value = copy.deepcopy(at(config, pointer))
    above, new_above = pointer.rpartition("/")[0], new.rpartition("/")[0]
    old_name, new_name = _tokens(pointer)[-1], _tokens(new)[-1]
    result = copy.deepcopy(config)
    if above == new_above:
        section = at(result, above) if above else result
        items = [(new_name if name == old_name else name, item) for name, item in section.items()]
        section.clear()
        section.update(items)
    else:
        del (at(result, above) if above else result)[old_name]
        (at(result, new_above) if new_above else result)[new_name] = value
    return Mutation(kind=kind, pointer=pointer, new_pointer=new, config=result)


def _text(config: dict[str, Any], source: random.Random) -> Mutation | None:
    numbers = [p for p in keys(config) if _is_number(at(config, p)) or _numbers_in(at(config, p))]
    if not numbers:
        return None
    pointer = source.choice(numbers)
    value = at(config, pointer)
    if isinstance(value, list):
        changed: Any = list(value)
        place = source.choice(_numbers_in(value))
        changed[place] = _spelt(value[place], source)
    else:
        changed = _spelt(value, source)
    return Mutation(
        kind=Kind.TEXT, pointer=pointer, new_pointer=pointer, config=with_value(config, pointer, changed)
    )


def _spelt(value: float, source: random.Random) -> str:
    """As JSON has it, or as people write large and small numbers."""
    return source.choice((json.dumps(value), f"{value:g}"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers_in(value: Any) -> list[int]:
    return [i for i, item in enumerate(value) if _is_number(item)] if isinstance(value, list) else []


def _stage(config: dict[str, Any], source: random.Random) -> Mutation | None:
    zero = config.get("zero_optimization")
    if not isinstance(zero, dict) or not _is_number(zero.get("stage")) or zero["stage"] != 3:
        return None
    if not any(name.startswith("stage3_") or name == "offload_param" for name in zero):
        return None
    idle = tuple(f"{_ZERO}/{name}" for name in zero if name.startswith("stage3_") or name in _ONLY_STAGE_3)
    pointer = f"{_ZERO}/stage"
    return Mutation(
        kind=Kind.STAGE,
        pointer=pointer,
        new_pointer=pointer,
        config=with_value(config, pointer, source.choice((0, 1, 2))),
        stage3_keys=idle,
    )


def _off_by_one(config: dict[str, Any], source: random.Random) -> Mutation | None:
    names = [name for name in BATCH if isinstance(config.get(name), int)]
    if not names:
        return None
    name = source.choice(names)
    value = config[name] + source.choice((-1, 1))
    return Mutation(
        kind=Kind.OFF_BY_ONE,
        pointer=f"/{name}",
        new_pointer=f"/{name}",
        config=with_value(config, f"/{name}", value),
    )


_MAKERS = {
    Kind.TYPO: _typo,
    Kind.WRONG_SECTION: _wrong_section,
    Kind.TEXT: _text,
    Kind.STAGE: _stage,
    Kind.OFF_BY_ONE: _off_by_one,
}


def _tokens(pointer: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]
