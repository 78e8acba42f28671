"""From judgement and evidence to the Report on the wire: redacted, and under its limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from hotfire import wire
from hotfire.rules.evidence import (
    DataEvidence,
    Environment,
    Evidence,
    Fix,
    Judgement,
    Role,
    Sample,
    Trial,
)
from hotfire.rules.model.memory_job import memory_report
from hotfire.rules.zero.verdict import zero_verdict
from hotfire.v1 import report_pb2
from hotfire_workers.redact import Redactor

#: A Report stays under 2 MiB (contract), as message and as JSON.
MAX_BYTES = 2 * 2**20 - 2**14
_MAX_REJECTED = 200
_MAX_SELECTED = 50
_MAX_NOTE_CHARACTERS = 600
_MAX_LOG_LINES = 20
_MAX_LINE_CHARACTERS = 400


def build(
    judgement: Judgement,
    evidence: Evidence,
    *,
    recommendation: Fix | None = None,
    redactor: Redactor,
    named_rows: Sequence[Sample] = (),
) -> report_pb2.Report:
    """The report.

    Args:
        judgement: Of all rules over all the evidence; what became of the fixes stands in it.
        evidence: What the rules were given.
        recommendation: The smallest verified patch for the whole job.
        redactor: Lets no row text out that may not.
        named_rows: Rows that findings name, to be shown before the others.
    """
    judgement = dataclasses.replace(judgement, findings=[redactor.finding(f) for f in judgement.findings])
    report = wire.record_to_message(judgement, report_pb2.Report)
    report.headline = redactor.cut(judgement.headline)
    if recommendation is not None:
        report.recommendation.CopyFrom(wire.record_to_message(recommendation, report_pb2.Fix))
    if evidence.trials is not None:
        report.trials.extend(_trial(redactor.trial(trial)) for trial in candidate_first(evidence.trials))
        report.zero.CopyFrom(wire.record_to_message(zero_verdict(evidence), report_pb2.ZeroReport))
    if evidence.data is not None:
        report.data.CopyFrom(data_report(evidence.data, redactor, named_rows))
    if (memory := memory_report(evidence)) is not None:
        report.memory.CopyFrom(wire.record_to_message(memory, report_pb2.MemoryReport))
    if evidence.environment is not None:
        report.environment.CopyFrom(environment_message(evidence.environment))
    redactor.message(report)
    shrink(report)
    return report


def candidate_first(trials: Sequence[Trial]) -> list[Trial]:
    """The candidate, the reference, then the others as they ran."""
    order = {Role.CANDIDATE: 0, Role.REFERENCE: 1}
    return sorted(trials, key=lambda trial: order.get(trial.role, 2))


def environment_message(environment: Environment) -> report_pb2.Environment:
    """The worker, on the wire."""
    return wire.record_to_message(environment, report_pb2.Environment)


def data_report(
    data: DataEvidence, redactor: Redactor, named_rows: Sequence[Sample] = ()
) -> report_pb2.DataReport:
    """The sample in numbers, what is to be known of it, and a few rows token by token."""
    report = report_pb2.DataReport(num_rows_read=data.num_rows_read, num_rows_usable=data.num_rows_usable)
    if data.format is not None:
        report.MergeFrom(wire.record_to_message({"format": data.format}, report_pb2.DataReport))
    for rejected in data.rejected[:_MAX_REJECTED]:
        report.rejected.add(row=rejected.row, reason=redactor.cut(rejected.reason))
    if data.rows:
        lengths = sorted(row.num_tokens for row in data.rows)
        report.length_p50, report.length_p90, report.length_p99 = (
            _percentile(lengths, share) for share in (0.5, 0.9, 0.99)
        )
        report.length_max = lengths[-1]
        supervised = sum(row.num_supervised for row in data.rows)
        report.supervised_token_share = supervised / max(1, sum(lengths))
        cut = sum(row.num_tokens < row.num_tokens_untruncated for row in data.rows)
        report.truncated_row_share = cut / len(data.rows)
    if data.mask_source is not None and data.rows:
        report.mask_source = data.mask_source
    report.notes.extend(redactor.cut(note)[:_MAX_NOTE_CHARACTERS] for note in dict.fromkeys(data.notes))
    for chosen in data.extra.get("sampling", ())[:_MAX_SELECTED]:
        report.selected.add(row=chosen["row"], why=chosen["why"])
    shown = {sample.row: sample for sample in (*named_rows, *data.samples)}
    shown |= {sample.row: sample for sample in named_rows}  # these say by what they are named
    report.samples.extend(
        wire.record_to_message(redactor.sample(sample), report_pb2.Sample) for sample in shown.values()
    )
    return report


def _percentile(ordered: Sequence[int], share: float) -> int:
    """The smallest value that so many are not above."""
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def _trial(trial: Trial) -> report_pb2.Trial:
    message = wire.record_to_message(trial, report_pb2.Trial)
    if message.HasField("error"):
        tail = [line[:_MAX_LINE_CHARACTERS] for line in message.error.log_tail[-_MAX_LOG_LINES:]]
        del message.error.log_tail[:]
        message.error.log_tail.extend(tail)
        message.error.message = message.error.message[: 10 * _MAX_LINE_CHARACTERS]
    return message


# --- Under 2 MiB ------------------------------------------------------------------------------------------


def shrink(report: report_pb2.Report, limit_bytes: int = MAX_BYTES) -> None:
    """Leaves out what is least missed until the report fits. What is left is still true."""
    steps: tuple[Callable[[], None], ...] = (
        lambda: _cut_samples(report, 1024),
        lambda: _cut_rejected(report, 50),
        lambda: _others(report, _without_steps),
        lambda: _cut_samples(report, 128),
        lambda: _others(report, _without_config),
        lambda: _cut_lists(report, 20),
        lambda: _main(report, lambda trial: _every_nth(trial, 4)),
        lambda: _others(report, _without_detail),
        lambda: _without_samples(report),
        lambda: _cut_evidence(report),
        lambda: _main(report, _without_steps),
        lambda: _cut_findings(report, 100),
    )
    for leave_out in steps:
        if _fits(report, limit_bytes):
            return
        leave_out()


def _fits(report: report_pb2.Report, limit_bytes: int) -> bool:
    if report.ByteSize() >= limit_bytes:
        return False
    return len(wire.message_to_json(report, indent=None).encode()) < limit_bytes


def _cut_samples(report: report_pb2.Report, num_tokens: int) -> None:
    for sample in report.data.samples:
        if len(sample.tokens) > num_tokens:
            sample.why += f" (first {num_tokens} tokens)"
            del sample.tokens[num_tokens:]


def _without_samples(report: report_pb2.Report) -> None:
    del report.data.samples[:]


def _cut_rejected(report: report_pb2.Report, count: int) -> None:
    del report.data.rejected[count:]


def _others(report: report_pb2.Report, change: Callable[[report_pb2.Trial], None]) -> None:
    for trial in report.trials:
        if trial.role not in (report_pb2.ROLE_CANDIDATE, report_pb2.ROLE_REFERENCE):
            change(trial)


def _main(report: report_pb2.Report, change: Callable[[report_pb2.Trial], None]) -> None:
    for trial in report.trials:
        change(trial)


def _without_steps(trial: report_pb2.Trial) -> None:
    del trial.steps[:]


def _every_nth(trial: report_pb2.Trial, n: int) -> None:
    kept = [step for index, step in enumerate(trial.steps) if index % n == 0 or index == len(trial.steps) - 1]
    del trial.steps[:]
    trial.steps.extend(kept)


def _without_config(trial: report_pb2.Trial) -> None:
    trial.ClearField("effective_config")
    del trial.groups[:]


def _without_detail(trial: report_pb2.Trial) -> None:
    trial.ClearField("phase_seconds")
    trial.ClearField("adaptations")
    if trial.HasField("error"):
        del trial.error.log_tail[:]


def _cut_lists(report: report_pb2.Report, count: int) -> None:
    for finding in report.findings:
        for value in finding.evidence.fields.values():
            if value.HasField("list_value"):
                del value.list_value.values[count:]


def _cut_evidence(report: report_pb2.Report) -> None:
    for finding in report.findings:
        if finding.evidence.ByteSize() > 4096:
            finding.ClearField("evidence")
        finding.message = finding.message[:2000]


def _cut_findings(report: report_pb2.Report, count: int) -> None:
    del report.findings[count:]
