"""The cases of tests/zero_cases by real trials: who is guilty, by which key, and is the patch verified?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.zero_cases.bed import make_bed
from tests.zero_cases.running import Case, find_cases, problems, run_case, warm_bench

from hotfire_workers.runner.base import Runner
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.train.imports import default_cache_dir

CASES = find_cases(make_bed())
#: One of each kind in every run; the others with the slow tests.
FAST = {"allreduce-sum", "stage3-granularity", "healthy-stage2-bf16-trainer"}


@pytest.fixture(scope="module")
def bench() -> Iterator[tuple[Runner, WorkerSettings]]:
    with warm_bench(default_cache_dir()) as made:
        yield made


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=() if case.name in FAST else (pytest.mark.slow,))
        for case in CASES
    ],
)
def test_the_guilty_one_is_named_and_the_patch_is_verified(
    case: Case, bench: tuple[Runner, WorkerSettings]
) -> None:
    assert problems(case, run_case(case, *bench)) == []


def test_there_are_enough_of_them() -> None:
    """At least eight guilty ones, two of them of one stage only, and ten healthy ones."""
    assert sum(case.guilty == "NONE" for case in CASES) >= 10
    assert sum(case.guilty != "NONE" for case in CASES) >= 8
    assert sum(case.guilty == "STAGE" for case in CASES) >= 2
