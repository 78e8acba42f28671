"""The search for guilty keys."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from scripted import CONFIG, TRAINING, ScriptedRunner, broken, settings, spec, stage_of

from hotfire.rules.evidence import PatchOperation
from hotfire.v1 import report_pb2
from hotfire_workers.bisect.differences import by_section, differences, finer, with_mirrors, working_configs
from hotfire_workers.bisect.minimal_set import minimal_set
from hotfire_workers.events import MemorySink
from hotfire_workers.preflight import run_preflight

V = report_pb2
ZERO = "/deepspeed/zero_optimization"


class Counted:
    """A set of needed units, and how often it was asked."""

    def __init__(self, needed):
        self.needed, self.asked = set(needed), set()

    def __call__(self, units):
        self.asked.add(frozenset(units))
        return self.needed <= set(units)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 12, 20, 33])
def test_a_single_one_is_found_by_halving(count):
    units = [f"k{i}" for i in range(count)]
    for needed in units:
        works = Counted({needed})
        assert minimal_set(units, works) == [needed]
        assert len(works.asked) <= math.ceil(math.log2(count)) + 1


@pytest.mark.parametrize("count", [2, 3, 8, 16])
def test_two_that_only_work_together_are_found(count):
    units = [f"k{i}" for i in range(count)]
    for needed in itertools.combinations(units, 2):
        works = Counted(needed)
        assert minimal_set(units, works) == list(needed)
        assert len(works.asked) <= 4 * math.ceil(math.log2(count)) + 4


def test_more_than_two_are_found():
    rng = random.Random(7)
    units = [f"k{i}" for i in range(15)]
    for _ in range(30):
        needed = set(rng.sample(units, rng.randint(3, 6)))
        assert set(minimal_set(units, Counted(needed))) == needed


def test_where_one_unit_spoils_another_the_result_still_works():
    """Without b, a does harm: the halves mislead, and what is returned was seen to work."""

    def works(units):
        return "c" in units and ("a" not in units or "b" in units)

    assert works(minimal_set("abcd", works))
    assert minimal_set("abcd", works) == ["c"]


def test_for_want_of_trials_the_whole_is_returned():
    assert minimal_set(list("abcd"), lambda units: len(units) == 4) == list("abcd")


def document(**config):
    return {"deepspeed": CONFIG | config, "training": TRAINING, "cluster": {}}


def test_the_nearest_working_config_keeps_what_the_job_is():
    zero = {"stage": 3, "overlap_comm": True, "stage3_max_live_parameters": 5}
    given = document(
        zero_optimization=zero,
        bf16={"enabled": True, "check_grad_overflow": False},
        comms_logger={},
        optimizer={"type": "AdamW"},
    )
    configs = [config for _, config in working_configs(given)]
    optimizer = {"optimizer": {"type": "AdamW"}}
    assert configs[0] == CONFIG | {"zero_optimization": {"stage": 3}} | optimizer
    without = {key: value for key, value in CONFIG.items() if key != "gradient_clipping"}
    assert configs[1] == without | {"zero_optimization": {"stage": 3}}
    assert "bf16" not in configs[2]
    named = {"zero_optimization": {"stage": 3}}
    assert next(working_configs(given, named)) == ("the config named as reference", named)


def test_keys_at_their_default_are_acquitted_without_a_trial():
    zero = {"stage": 2, "contiguous_gradients": True, "reduce_bucket_size": 7}
    given = document(zero_optimization=zero)
    changes, idle = differences(given, CONFIG)
    assert [o.path for o in changes] == [f"{ZERO}/reduce_bucket_size"]
    assert idle == [f"{ZERO}/contiguous_gradients"]


def test_changes_get_finer():
    given = document(data_types={"grad_accum_dtype": "fp32"}, steps_per_print=1)
    changes, _ = differences(given, CONFIG)
    assert [[o.path for o in section] for section in by_section(changes)] == [
        ["/deepspeed/data_types"],
        ["/deepspeed/steps_per_print"],
    ]
    inside = finer(given, changes)
    assert [o.path for o in inside] == [
        "/deepspeed/data_types/grad_accum_dtype",
        "/deepspeed/steps_per_print",
    ]
    assert finer(given, inside) is None


def test_precision_is_turned_off_in_the_arguments_too():
    changes = [PatchOperation(op="remove", path="/deepspeed/bf16")]
    mirrored = with_mirrors(document(), changes)
    assert [(o.op, o.path, o.value) for o in mirrored[1:]] == [("replace", "/training/bf16", False)]
    other = [PatchOperation(op="remove", path="/deepspeed/bf16/check_grad_overflow")]
    assert with_mirrors(document(), other) == other


def test_a_guilty_key_that_no_rule_knows_is_found_and_named(tmp_path):
    """Every stage fails with the key; without it the submitted one trains."""

    def trial(request):
        bad = ((request.deepspeed or {}).get("zero_optimization") or {}).get("reduce_bucket_size") == 7
        return broken(request, num_supervised_tokens=160) if bad else None

    zero = {"stage": 2, "reduce_bucket_size": 7, "allgather_bucket_size": 1000, "contiguous_gradients": False}
    runner = ScriptedRunner(trial=trial)
    job = spec(tmp_path, deepspeed=CONFIG | {"zero_optimization": zero, "communication_data_type": "fp32"})
    report = run_preflight(job, runner=runner, sink=MemorySink(), settings=settings(tmp_path))
    assert report.zero.guilty == V.GUILTY_KEYS, report.zero.explanation
    assert list(report.zero.guilty_keys) == [f"{ZERO}/reduce_bucket_size"]
    assert [(o.op, o.path) for o in report.recommendation.patch] == [("remove", f"{ZERO}/reduce_bucket_size")]
    assert {t.role for t in report.trials} >= {V.ROLE_BISECT, V.ROLE_STAGE}
    assert stage_of(runner.trials[-1]) == 2
    search = report.zero.search
    assert (search.num_keys, search.HasField("stopped")) == (4, False)
    assert search.num_trials <= 2 * math.log2(4) + 4
    assert "went through 4 differing keys in" in report.zero.explanation
    assert f"{ZERO}/allgather_bucket_size" in search.acquitted
    # What is recommended was run twice.
    assert any(t.repeats == report.recommendation.trial for t in report.trials)


@pytest.mark.parametrize(("fails", "num_changes"), [(any, 2), (all, 1)])
def test_two_guilty_keys_are_both_named(tmp_path, fails, num_changes):
    """Each breaks the job, so both must go; or they break it only together, and either may go."""

    def trial(request):
        config = request.deepspeed or {}
        zero = config.get("zero_optimization") or {}
        bad = fails([zero.get("reduce_bucket_size") == 7, "communication_data_type" in config])
        return broken(request, num_supervised_tokens=160) if bad else None

    zero = {"stage": 2, "reduce_bucket_size": 7, "allgather_bucket_size": 1000, "round_robin_gradients": True}
    others = {"steps_per_print": 3, "wall_clock_breakdown": True, "gradient_predivide_factor": 2.0}
    job = spec(
        tmp_path,
        deepspeed=CONFIG | {"zero_optimization": zero, "communication_data_type": "fp32"} | others,
    )
    report = run_preflight(
        job, runner=ScriptedRunner(trial=trial), sink=MemorySink(), settings=settings(tmp_path)
    )
    assert set(report.zero.guilty_keys) == {
        f"{ZERO}/reduce_bucket_size",
        "/deepspeed/communication_data_type",
    }, report.zero.explanation
    assert len(report.recommendation.patch) == num_changes
    assert ("only together with" in report.zero.explanation) is (fails is all)
    assert set(report.zero.search.acquitted) >= {
        f"{ZERO}/allgather_bucket_size",
        "/deepspeed/steps_per_print",
    }


def test_an_outcome_that_comes_and_goes_blames_no_key(tmp_path):
    def trial(request):
        is_first = request.name == "candidate" and request.deepspeed
        return broken(request, num_supervised_tokens=160) if is_first else None

    runner = ScriptedRunner(trial=trial)
    job = spec(tmp_path, deepspeed=CONFIG | {"steps_per_print": 1})
    report = run_preflight(job, runner=runner, sink=MemorySink(), settings=settings(tmp_path))
    assert "candidate-again" in runner.names
    assert report.zero.guilty == V.GUILTY_UNKNOWN
    assert "went another way" in report.zero.explanation
    assert not [name for name in runner.names if name.startswith("bisect")]


def test_a_reference_config_of_the_user_takes_the_place_of_plain_torch(tmp_path):
    def trial(request):
        bad = ((request.deepspeed or {}).get("zero_optimization") or {}).get("reduce_bucket_size") == 7
        return broken(request, num_supervised_tokens=160) if bad else None

    known = CONFIG | {"zero_optimization": {"stage": 2, "reduce_bucket_size": 100}}
    zero = {"stage": 2, "reduce_bucket_size": 7}
    runner = ScriptedRunner(trial=trial)
    job = spec(tmp_path, deepspeed=CONFIG | {"zero_optimization": zero}, plan={"reference_deepspeed": known})
    report = run_preflight(job, runner=runner, sink=MemorySink(), settings=settings(tmp_path))
    reference = next(r for r in runner.trials if r.name == "reference")
    assert reference.deepspeed["zero_optimization"]["reduce_bucket_size"] == 100
    assert report.zero.search.working == "the config named as reference"
    assert [(o.op, o.value.number_value) for o in report.recommendation.patch] == [("replace", 100)]


def test_no_search_where_it_is_not_wanted(tmp_path):
    def trial(request):
        return broken(request, num_supervised_tokens=160) if request.deepspeed else None

    runner = ScriptedRunner(trial=trial)
    job = spec(tmp_path, deepspeed=CONFIG | {"steps_per_print": 1}, plan={"bisect": False})
    run_preflight(job, runner=runner, sink=MemorySink(), settings=settings(tmp_path))
    assert not [name for name in runner.names if name.startswith("bisect")]


def test_the_search_ends_where_the_settings_say(tmp_path):
    def trial(request):
        bad = ((request.deepspeed or {}).get("zero_optimization") or {}).get("reduce_bucket_size") == 7
        return broken(request, num_supervised_tokens=160) if bad else None

    zero = {"stage": 2, "reduce_bucket_size": 7, "allgather_bucket_size": 1000, "round_robin_gradients": True}
    job = spec(tmp_path, deepspeed=CONFIG | {"zero_optimization": zero, "steps_per_print": 3})
    report = run_preflight(
        job,
        runner=ScriptedRunner(trial=trial),
        sink=MemorySink(),
        settings=settings(tmp_path, max_bisect_trials=2),
    )
    assert report.zero.search.num_trials == 2
    assert "2 trials were made" in report.zero.search.stopped
