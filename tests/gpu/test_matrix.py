"""Stages x precisions x loops on CUDA with NCCL, each against its reference."""

import pytest
from gpu_bodies import LOOPS, PRECISIONS, STAGES, Bench, check_matrix_case

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("stage", STAGES)
def test_trains_like_its_reference(bench: Bench, stage: int, precision: str, loop: str) -> None:
    check_matrix_case(bench, stage, precision, loop)
