"""The search for guilty keys."""

from __future__ import annotations

import pytest
from scripted import CONFIG, ScriptedRunner, broken, settings, spec, stage_of

from hotfire.rules.evidence import PatchOperation
from hotfire.v1 import report_pb2
from hotfire_workers.bisect import minimal_config, smallest
from hotfire_workers.events import MemorySink
from hotfire_workers.preflight import run_preflight

V = report_pb2


def operations(names):
    return [PatchOperation(op="remove", path=f"/deepspeed/{n}") for n in names]


@pytest.mark.parametrize("guilty", ["a", "h", "ah", "bcg"])
def test_the_smallest_set_is_found(guilty):
    tried = set()

    def cures(patch):
        names = {o.path[-1] for o in patch}
        tried.add(frozenset(names))
        return set(guilty) <= names

    found = smallest(operations("abcdefgh"), cures)
    assert {o.path[-1] for o in found} == set(guilty)
    assert len(tried) <= 30


def test_the_least_config_keeps_what_the_job_is():
    zero = {"stage": 3, "overlap_comm": True, "stage3_max_live_parameters": 5}
    given = CONFIG | {
        "zero_optimization": zero,
        "fp16": {"enabled": False, "loss_scale": 8},
        "comms_logger": {},
    }
    assert minimal_config(given) == CONFIG | {"zero_optimization": {"stage": 3}, "fp16": {"enabled": False}}


def test_a_guilty_key_that_no_rule_knows_is_found_and_named(tmp_path):
    """Every stage fails with the key; without it the submitted one trains."""

    def trial(request):
        bad = ((request.deepspeed or {}).get("zero_optimization") or {}).get("reduce_bucket_size") == 7
        return broken(request, num_supervised_tokens=160) if bad else None

    zero = {"stage": 2, "reduce_bucket_size": 7, "allgather_bucket_size": 1000, "contiguous_gradients": True}
    runner = ScriptedRunner(trial=trial)
    job = spec(tmp_path, deepspeed=CONFIG | {"zero_optimization": zero, "communication_data_type": "fp32"})
    report = run_preflight(job, runner=runner, sink=MemorySink(), settings=settings(tmp_path))
    assert report.zero.guilty == V.GUILTY_KEYS, report.zero.explanation
    assert list(report.zero.guilty_keys) == ["/deepspeed/zero_optimization/reduce_bucket_size"]
    assert [(o.op, o.path) for o in report.recommendation.patch] == [
        ("remove", "/deepspeed/zero_optimization/reduce_bucket_size")
    ]
    assert {t.role for t in report.trials} >= {V.ROLE_BISECT, V.ROLE_STAGE}
    assert stage_of(runner.trials[-1]) == 2


def test_no_search_where_it_is_not_wanted(tmp_path):
    def trial(request):
        return broken(request, num_supervised_tokens=160) if request.deepspeed else None

    runner = ScriptedRunner(trial=trial)
    job = spec(tmp_path, deepspeed=CONFIG | {"steps_per_print": 1}, plan={"bisect": False})
    run_preflight(job, runner=runner, sink=MemorySink(), settings=settings(tmp_path))
    assert not [name for name in runner.names if name.startswith("bisect")]
