"""The smallest part of a set that still works, in few trials.

A single one among n is found by halving, in log2(n) + 1 trials. Where that leads nowhere, QuickXplain (Junker,
AAAI 2004): halves are tried on top of what is known to be needed, so that two that only work together are found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def minimal_set(units: Sequence[T], works: Callable[[Sequence[T]], bool]) -> list[T]:
    """The smallest part of `units` that works: none of it can be left out.

    Args:
        units: Taken together they work.
        works: Tries some of them, in the order of `units`. Asked twice about the same ones it should remember. It
            may answer False for want of trials: the result works all the same, but may not be the smallest.

    Returns:
        A part that was seen to work, or all of `units`.
    """
    if len(units) < 2:
        return list(units)
    order = {id(unit): place for place, unit in enumerate(units)}

    def tried(some: Sequence[T]) -> bool:
        return works(sorted(some, key=lambda unit: order[id(unit)]))

    if tried(one := [_single(list(units), tried)]):
        return one
    found = _needed([], False, list(units), tried)
    found.sort(key=lambda unit: order[id(unit)])
    if len(found) < len(units) and tried(found):
        return found
    # What works in part may fail as a whole and the other way round (one key needs another): one by one, then.
    return _without_the_needless(list(units), tried)


def _single(units: list[T], works: Callable[[Sequence[T]], bool]) -> T:
    """The one that is needed, if it is a single one."""
    while len(units) > 1:
        half = len(units) // 2
        units = units[:half] if works(units[:half]) else units[half:]
    return units[0]


def _needed(base: list[T], has_grown: bool, units: list[T], works: Callable[[Sequence[T]], bool]) -> list[T]:
    """What of `units` is needed on top of `base`."""
    if has_grown and works(base):
        return []
    if len(units) == 1:
        return units
    half = len(units) // 2
    first, second = units[:half], units[half:]
    from_second = _needed([*base, *first], True, second, works)
    from_first = _needed([*base, *from_second], bool(from_second), first, works)
    return [*from_first, *from_second]


def _without_the_needless(units: list[T], works: Callable[[Sequence[T]], bool]) -> list[T]:
    for unit in list(units):
        rest = [other for other in units if other is not unit]
        if rest and works(rest):
            units = rest
    return units
