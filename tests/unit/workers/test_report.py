"""The report: its numbers, and its limit."""

from __future__ import annotations

import dataclasses

from tests.unit.rules import factory

from hotfire import wire
from hotfire.rules.engine import judge
from hotfire.rules.evidence import RejectedRow, Sample, Token
from hotfire.v1 import report_pb2
from hotfire_workers import report
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
