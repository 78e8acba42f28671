"""The report: its numbers, and its limit."""

from __future__ import annotations

import dataclasses
import json

from tests.unit.rules import factory

from hotfire import wire
from hotfire.rules.engine import judge
from hotfire.rules.evidence import Finding, Location, RejectedRow, Sample, Severity, Token
from hotfire.v1 import report_pb2
from hotfire_workers import environment, report, rowviews
from hotfire_workers.prepare import Prepared
from hotfire_workers.redact import Redactor


def test_the_sample_in_numbers():
    rows = [
        factory.row(n, num_tokens=n, num_tokens_untruncated=n + (n == 100), num_supervised=n // 2)
        for n in range(1, 101)
    ]
    data = factory.data(rows, rejected=[RejectedRow(row=101, reason="no role")])
    message = report.data_report(data, Redactor())
    assert (message.length_p50, message.length_p90, message.length_p99, message.length_max) == (
        50,
        90,
        99,
        100,
    )
    assert message.truncated_row_share == 0.01
    assert 0.49 < message.supervised_token_share < 0.5
    assert message.rejected[0].row == 101
    assert (
        report_pb2.DataReport.DESCRIPTOR.fields_by_name["format"]
        .enum_type.values_by_number[message.format]
        .name
        == "FORMAT_MESSAGES"
    )


def test_an_empty_sample_has_no_made_up_numbers():
    message = report.data_report(factory.data([]), Redactor())
    assert message.num_rows_read == 0
    assert not message.HasField("length_max")
    assert not message.HasField("supervised_token_share")


def test_a_report_of_a_healthy_job():
    evidence = factory.evidence()
    evidence.trials.reverse()
    message = report.build(judge(evidence), evidence, redactor=Redactor())
    assert [t.name for t in message.trials] == ["candidate", "reference"]
    assert message.zero.guilty == report_pb2.GUILTY_NONE
    assert message.environment.device == "cpu"
    assert message.HasField("zero")
    assert len(message.checks) > 20


def test_a_report_stays_under_two_mebibytes():
    tokens = [Token(id=n, text="word" * 5, trained=True) for n in range(8000)]
    data = factory.data(samples=[Sample(row=n, why="long", tokens=tokens) for n in range(5)])
    trials = [factory.trial(), factory.reference()]
    for number in range(60):
        extra = factory.other_stage(3, name=f"fix-{number}", steps=[factory.step(n) for n in range(1, 200)])
        extra.effective_config = {f"key{n}": "x" * 100 for n in range(100)}
        trials.append(extra)
    evidence = dataclasses.replace(factory.evidence(), data=data, trials=trials)
    message = report.build(judge(evidence), evidence, redactor=Redactor())
    assert message.ByteSize() < 2 * 2**20
    assert len(wire.message_to_json(message, indent=None)) < 2 * 2**20
    # What carries the verdict is still there.
    assert len(message.trials) == 62
    assert len(message.trials[0].steps) == 8
    assert message.data.samples[0].tokens


def test_redacted_samples_keep_ids_and_flags():
    data = factory.data(samples=[Sample(row=1, tokens=[Token(id=5, text="secret", trained=True)])])
    message = report.data_report(data, Redactor(redact=True))
    token = message.samples[0].tokens[0]
    assert (token.id, token.trained, token.HasField("text")) == (5, True, False)


def test_what_is_known_of_the_sample_reaches_the_report():
    data = factory.data(
        notes=["a byte-order mark", "a byte-order mark", "columns drift"],
        mask_source="prefix",
        extra={"sampling": [{"row": 7, "why": "longest row"}]},
        samples=[Sample(row=1, why="first row"), Sample(row=7, why="longest row")],
    )
    message = report.data_report(data, Redactor(), [Sample(row=9, why="named by double-bos"), Sample(row=7)])
    assert list(message.notes) == ["a byte-order mark", "columns drift"]
    assert message.mask_source == "prefix"
    assert [(s.row, s.why) for s in message.selected] == [(7, "longest row")]
    assert [sample.row for sample in message.samples] == [9, 7, 1]  # what findings name comes first


def test_rows_that_findings_name_have_views_and_are_shown_first(tmp_path):
    lines = [{"row": n, "why": "", "ids": [n], "texts": ["a"], "trained": [1]} for n in range(1, 40)]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    findings = [
        Finding(rule="poor-use-of-tokens", message="", severity=Severity.INFO, evidence={"rows": [30]}),
        Finding(rule="double-bos", message="", severity=Severity.WARNING, evidence={"rows": [20, 21]}),
        Finding(
            rule="answer-truncated", message="", severity=Severity.ERROR, location=Location(row=5),
            evidence={"rows": [5, 6, 7, 8, 9, 10]},
        ),
    ]  # fmt: skip
    views = rowviews.wanted(tmp_path, [factory.trial()], findings)
    ran = set(factory.trial().steps[0].ranks[0].micro_batches[0].rows)
    assert {view.row for view in views} >= {5, 6, 7, 8, 9, 10, 20, 21, 30} | ran
    assert "named by answer-truncated" in next(v.why for v in views if v.row == 5)
    shown = rowviews.first_named(views, findings)
    assert [view.row for view in shown] == [5, 20, 6, 21, 7]
    assert shown[0].tokens == [Token(id=5, text="a", trained=True)]


def test_what_of_the_rows_trials_do_not_run_is_an_adaptation(tmp_path):
    pairs = Prepared(folder=tmp_path, data=factory.data(format="PREFERENCE"))
    (change,) = environment.sample_adaptations(pairs)
    assert (change.path, change.after) == ("/data/format", "their chosen side")
    unpacked = Prepared(folder=tmp_path, data=factory.data(extra={"why_not_packed": "no max_length"}))
    (change,) = environment.sample_adaptations(unpacked)
    assert (change.path, change.before, change.after) == ("/training/packing", True, False)
    assert environment.sample_adaptations(Prepared(folder=tmp_path, data=factory.data())) == []
