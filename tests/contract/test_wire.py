"""`hotfire.wire`: what goes in comes out, whatever the values."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfire import wire
from hotfire.rules import evidence as ev
from hotfire.v1 import preflight_pb2, report_pb2, spec_pb2

finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.one_of(st.none(), st.just(0.0), st.just(math.nan), st.just(math.inf), st.just(-math.inf), finite)
exact_integers = st.integers(-(2**53), 2**53)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), exact_integers, finite, st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=20,
)


def same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    return a == b


@given(
    loss=numbers,
    grad_norm=numbers,
    applied=st.one_of(st.none(), st.booleans()),
    silent=st.one_of(st.none(), st.integers(0, 9)),
)
def test_measured_values_survive_record_message_json(loss, grad_norm, applied, silent):
    step = ev.Step(step=1, loss=loss, grad_norm=grad_norm, applied=applied, num_silent_parameters=silent)
    message = wire.record_to_message(step, report_pb2.Step)
    text = wire.message_to_json(message)
    assert "NaN" not in text.replace('"NaN"', "")
    again = wire.message_from_dict(json.loads(text), report_pb2.Step)
    back = wire.message_to_record(again, ev.Step)
    assert same(back.loss, loss)
    assert same(back.grad_norm, grad_norm)
    assert back.applied is applied
    assert back.num_silent_parameters == silent


def test_zero_and_false_are_printed_and_absent_is_absent():
    printed = wire.message_to_dict(
        wire.record_to_message(ev.Step(step=1, loss=0.0, applied=False), report_pb2.Step)
    )
    assert printed["loss"] == 0.0
    assert printed["applied"] is False
    assert "grad_norm" not in printed


@given(json_values)
def test_struct_values_survive(value):
    message = wire.dict_to_struct({"key": value})
    back = wire.struct_to_dict(message)["key"]
    assert back == value
    assert json.loads(wire.message_to_json(spec_pb2.DeepSpeedSpec(config=message)))["config"]["key"] == value


@given(exact_integers)
def test_struct_integers_are_written_as_integers(number):
    spec = spec_pb2.DeepSpeedSpec(config=wire.dict_to_struct({"reduce_bucket_size": number}))
    text = wire.message_to_json(spec, indent=None)
    assert text == f'{{"config": {{"reduce_bucket_size": {number}}}}}'
    back = wire.struct_to_dict(spec.config)["reduce_bucket_size"]
    assert back == number
    assert isinstance(back, int)


def test_integers_in_the_evidence_of_a_finding_are_integers_too():
    finding = ev.Finding(message="m", evidence={"steps": [1, 2], "share": 0.5, "inner": {"row": 3}})
    text = wire.message_to_json(
        report_pb2.Report(findings=[wire.record_to_message(finding, report_pb2.Finding)])
    )
    assert json.loads(text)["findings"][0]["evidence"] == {"steps": [1, 2], "share": 0.5, "inner": {"row": 3}}
    assert "1.0" not in text
    assert "3.0" not in text


@given(st.integers(-(2**63), 2**63 - 1))
def test_64_bit_integers_are_strings_in_output_and_both_in_input(number):
    message = spec_pb2.ClusterSpec(gpu_memory_bytes=number)
    assert wire.message_to_dict(message)["gpu_memory_bytes"] == str(number)
    for form in (number, str(number)):
        assert wire.message_from_dict({"gpu_memory_bytes": form}, spec_pb2.ClusterSpec) == message


@pytest.mark.parametrize(
    ("value", "name"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")]
)
def test_non_finite_numbers_in_a_struct_are_strings(value, name):
    finding = wire.record_to_message(ev.Finding(message="m", evidence={"loss": [value]}), report_pb2.Finding)
    assert wire.message_to_dict(finding)["evidence"] == {"loss": [name]}


def test_a_raw_nan_of_a_foreign_client_is_printed_as_text():
    spec = spec_pb2.PreflightSpec()
    spec.deepspeed.config.fields["x"].number_value = math.nan
    assert json.loads(wire.message_to_json(spec))["deepspeed"]["config"]["x"] == "NaN"


def test_every_error_is_reported_with_its_path_and_the_nearest_name():
    with pytest.raises(wire.WireError) as caught:
        wire.message_from_dict(
            {
                "modle": {"path": "x"},
                "training": {"learning_rate": "fast", "bf16": 1, "loop": "horovod"},
                "plan": {"num_steps": 1.5, "time_budget": "soon"},
                "model": {"path": "a", "hub_id": "b"},
            },
            spec_pb2.PreflightSpec,
        )
    found = dict(caught.value.violations)
    assert "did you mean 'model'" in found["modle"]
    assert found["training.learning_rate"].startswith("must be a number")
    assert "true or false" in found["training.bf16"]
    assert "trainer, accelerate, deepspeed" in found["training.loop"]
    assert "integer" in found["plan.num_steps"]
    assert "duration" in found["plan.time_budget"]
    assert "only one of" in found["model"]


def test_enums_with_or_without_prefix_in_any_case():
    for form in ("trainer", "LOOP_TRAINER", "Trainer"):
        assert wire.message_from_dict({"loop": form}, spec_pb2.TrainingSpec).loop == spec_pb2.LOOP_TRAINER


def test_records_get_the_wire_prefix_of_their_enums():
    trial = ev.Trial(
        name="candidate", role=ev.Role.CANDIDATE, outcome=ev.TrialOutcome.TRAINS, steps=[ev.Step(step=1)]
    )
    message = wire.record_to_message(trial, report_pb2.Trial)
    assert message.outcome == report_pb2.TRIAL_OUTCOME_TRAINS
    assert message.steps[0].phase == report_pb2.PHASE_SCHEDULED
    back = wire.message_to_record(message, ev.Trial)
    assert back.role is ev.Role.CANDIDATE
    assert back.steps[0].phase is ev.Phase.SCHEDULED


def test_the_json_of_a_whole_preflight_reads_back_equal():
    preflight = preflight_pb2.Preflight(name="preflights/a", state=preflight_pb2.STATE_SUCCEEDED, attempt=1)
    preflight.report.verdict = report_pb2.VERDICT_PASS
    preflight.report.trials.add(name="candidate").steps.add(step=1, loss=math.nan, grad_norm=0.0)
    preflight.labels["team"] = "glm"
    preflight.create_time.FromJsonString("2026-11-24T00:00:00Z")
    back = wire.message_from_dict(json.loads(wire.message_to_json(preflight)), preflight_pb2.Preflight)
    assert wire.message_to_json(back) == wire.message_to_json(preflight)
