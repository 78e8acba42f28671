"""The effective config against the one that was given: every key that differs, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hotfire.dsconfig.batch_size import ACCUMULATION, MICRO, TRAIN
from hotfire.dsconfig.hjson_reader import escape

_BATCH = ("/" + TRAIN, "/" + MICRO, "/" + ACCUMULATION)
_PRECISION = ("/bf16", "/fp16", "/bf16/enabled")


@dataclass(kw_only=True, slots=True)
class Line:
    """One key of either config, in the order of the file."""

    sign: str
    """" " as given, "-" given, "+" takes effect."""
    pointer: str
    value: Any = None
    """None for a section: its keys follow."""
    section: bool = False
    why: str = ""


def account(
    given: Mapping[str, Any],
    effective: Mapping[str, Any],
    *,
    unread: Collection[str] = (),
    waiting: Collection[str] = (),
) -> list[Line]:
    """Both configs as one, key by key.

    Args:
        given: As parsed.
        effective: What `effective.resolve` made of it.
        unread: Pointers of keys that DeepSpeed does not read or that are without effect.
        waiting: Pointers of "auto" values for which something is not known here.
    """
    return list(_walk(given, effective, "", unread, waiting))


def _walk(
    given: Mapping[str, Any],
    effective: Mapping[str, Any],
    pointer: str,
    unread: Collection[str],
    waiting: Collection[str],
) -> Iterator[Line]:
    for key, before in given.items():
        here = f"{pointer}/{escape(str(key))}"
        if str(key).startswith("_"):
            yield Line(sign=" ", pointer=here, value=before, why="a comment")
        elif here in unread:
            yield Line(sign="-", pointer=here, value=before, why="without effect")
        elif key not in effective:
            why = "dropped: nothing fills it" if before == "auto" else "an old name"
            yield Line(sign="-", pointer=here, value=before, why=why)
        elif isinstance(before, Mapping) and isinstance(effective[key], Mapping):
            yield Line(sign=" ", pointer=here, section=True)
            yield from _walk(before, effective[key], here, unread, waiting)
        elif _same(before, effective[key]):
            why = "stays until more is known" if here in waiting else ""
            if before == "auto" and not why:
                why = "nothing fills it"
            yield Line(sign=" ", pointer=here, value=before, why=why)
        else:
            yield Line(sign="-", pointer=here, value=before)
            why = "from the arguments" if before == "auto" else "as DeepSpeed reads it"
            yield Line(sign="+", pointer=here, value=effective[key], why=why)
    for key, after in effective.items():
        if key in given:
            continue
        here = f"{pointer}/{escape(str(key))}"
        yield Line(sign="+", pointer=here, value=after, why=_added(here, given, after))


def _same(before: Any, after: Any) -> bool:
    return bool(before == after) and isinstance(before, bool) == isinstance(after, bool)


def _added(here: str, given: Mapping[str, Any], after: Any) -> str:
    if here in _BATCH:
        return "follows from the others"
    old = {
        "/bf16": "bfloat16",
        "/zero_optimization/offload_optimizer": "cpu_offload",
        "/zero_optimization/offload_param": "cpu_offload_param",
    }.get(here)
    if old in given:
        return f"the name of {old} now"
    if here in _PRECISION and isinstance(after, dict) and after.get("enabled"):
        return "from the arguments"
    return "default"
