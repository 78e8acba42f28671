"""What a worker does on a GPU: fork without a context, memory, hangs, NCCL's traces, whole preflights."""

import gpu_bodies as bodies
import pytest
from gpu_bodies import Bench

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]


def test_the_warm_process_has_no_context(bench: Bench) -> None:
    bodies.check_parent_is_clean(bench)


def test_cold_gives_the_same(bench: Bench) -> None:
    bodies.check_cold_gives_the_same(bench)


def test_a_hang_is_found(bench: Bench) -> None:
    bodies.check_hang(bench)


def test_nccl_speaks_into_the_trial(bench: Bench) -> None:
    bodies.check_nccl_speaks_into_the_trial(bench)


def test_out_of_memory_names_the_micro_batch_that_fits(bench: Bench) -> None:
    bodies.check_out_of_memory(bench)


def test_peak_memory_is_what_was_forecast(bench: Bench) -> None:
    if not bodies.check_peak_against_forecast(bench):
        pytest.skip("this build forecasts no memory")


def test_loss_zero_is_found(bench: Bench) -> None:
    bodies.check_loss_zero_is_found(bench)


def test_a_healthy_job_passes(bench: Bench) -> None:
    bodies.check_healthy_passes(bench)
