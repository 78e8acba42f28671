"""The report as Markdown: for a pull request, a CI summary, a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hotfire.render import charts, diff, memory, text
from hotfire.render.view import (
    MASK_WORDS,
    OUTCOME_WORDS,
    ZERO_PHRASES,
    View,
    curve,
    first_and_last,
    has_values,
    proof,
)
from hotfire.v1 import preflight_pb2, report_pb2

_BADGES = {"PASS": "✅", "WARN": "⚠️", "FAIL": "❌"}
_SEVERITIES = {"ERROR": "❌", "WARNING": "⚠️", "INFO": "ℹ️"}
_NUM_SAMPLES = 2


def render(preflight: preflight_pb2.Preflight) -> str:
    """The report as Markdown."""
    view = View(preflight)
    blocks = [f"# {_BADGES.get(view.verdict, '❔')} {view.verdict}: {_inline(view.headline)}"]
    if facts := view.facts():
        blocks.append(_inline(" · ".join(facts)))
    if preflight.HasField("report"):
        for section in (_remedy, _curves, _zero, _findings, _data, _memory, _checks, _environment):
            blocks += section(view)
    return "\n\n".join(blocks) + "\n"


def _remedy(view: View) -> Iterator[str]:
    fix = view.remedy
    if fix is None:
        return
    yield "## What to change"
    yield _inline(text.clean(fix.description))
    for change in diff.file_diffs(view.document, fix.patch):
        yield f"{_inline(change.title)}\n\n" + _fence("\n".join(change.lines), "diff")
    yield f"_{_inline(proof(view, fix))}_"


def _curves(view: View) -> Iterator[str]:
    rows = []
    for name, trial in view.compared_trials():
        norms = curve(trial, "grad_norm_measured")
        norms = norms if has_values(norms) else curve(trial, "grad_norm")
        losses = curve(trial, "loss")
        outcome = text.enum_name(trial, "outcome")
        rows.append(
            (
                name,
                OUTCOME_WORDS.get(outcome, outcome),
                f"`{charts.sparkline(losses)}` {first_and_last(losses)}",
                f"`{charts.sparkline(norms)}` {first_and_last(norms)}",
            )
        )
    if rows:
        yield "## Curves"
        yield _table(("run", "outcome", "loss", "gradient norm"), rows)


def _zero(view: View) -> Iterator[str]:
    if not view.report.HasField("zero"):
        return
    report = view.report.zero
    yield "## ZeRO"
    phrase = ZERO_PHRASES.get(text.enum_name(report, "guilty"), "")
    if explanation := text.clean(report.explanation) or phrase:
        yield f"**{_inline(explanation)}**"
    if report.guilty_keys:
        yield "Guilty: " + ", ".join(f"`{text.clean(key)}`" for key in report.guilty_keys)
    rows = []
    for stage in report.stages:
        outcome = text.enum_name(stage, "outcome")
        submitted = report.HasField("submitted_stage") and stage.stage == report.submitted_stage
        agrees = text.optional(stage, "agrees_with_reference")
        rows.append(
            (
                f"{'**' if submitted else ''}{stage.stage}{'**' if submitted else ''}",
                OUTCOME_WORDS.get(outcome, outcome),
                "-" if agrees is None else "yes" if agrees else "no",
                text.share(text.optional(stage, "loss_gap")),
                text.share(text.optional(stage, "grad_norm_gap")),
                text.size(text.optional(stage, "peak_memory_bytes")),
                text.seconds(text.optional(stage, "step_seconds")),
            )
        )
    if rows:
        yield _table(("stage", "outcome", "agrees", "loss gap", "grad gap", "peak", "step"), rows)


def _findings(view: View) -> Iterator[str]:
    if not view.report.findings:
        return
    yield "## Findings"
    for finding in view.report.findings:
        badge = _SEVERITIES.get(text.enum_name(finding, "severity"), "")
        lines = [f"- {badge} **{finding.rule}** ({finding.rule_id}) {_inline(text.clean(finding.message))}"]
        if finding.HasField("location") and (where := text.location_text(finding.location)):
            lines.append(f"  - at `{where}`")
        fixes = [finding.fix] if finding.HasField("fix") else []
        for fix in [*fixes, *finding.alternatives]:
            patch = f" `{diff.one_line(fix.patch)}`" if fix.patch else ""
            lines.append(
                f"  - fix: {_inline(text.clean(fix.description))}{patch} — {_inline(proof(view, fix))}"
            )
        yield "\n".join(lines)


def _data(view: View) -> Iterator[str]:
    if not view.report.HasField("data"):
        return
    report = view.report.data
    yield "## Data"
    facts = []
    if report.HasField("num_rows_read"):
        facts.append(f"{report.num_rows_usable} of {text.plural(report.num_rows_read, 'row')} usable")
    if report.HasField("supervised_token_share"):
        facts.append(f"**{text.share(report.supervised_token_share)}** of the tokens trained on")
    if report.HasField("length_p50"):
        facts.append(f"median {report.length_p50}, longest {report.length_max} tokens")
    if facts:
        yield ", ".join(facts)
    notes = [MASK_WORDS.get(report.mask_source, ""), *report.notes]
    if chosen := view.selected_rows(10):
        notes.append(f"rows that run first, and why: {chosen}")
    if lines := [f"- {_inline(text.clean(note))}" for note in notes if note]:
        yield "\n".join(lines)
    for sample in list(report.samples)[:_NUM_SAMPLES]:
        trained = sum(token.trained for token in sample.tokens)
        yield (
            f"Row {sample.row} ({_inline(text.clean(sample.why))}): {len(sample.tokens)} tokens, "
            f"{trained} trained, which stand in [[brackets]]\n\n" + _fence(_sample_text(sample))
        )


def _sample_text(sample: report_pb2.Sample) -> str:
    from hotfire.render import tokens

    return tokens.draw(sample, color=False, unicode=True).plain


def _memory(view: View) -> Iterator[str]:
    if not view.report.HasField("memory") or not view.report.memory.stages:
        return
    yield "## Memory per GPU on the target cluster"
    yield _table(memory.COLUMNS, [memory.cells(forecast) for forecast in view.report.memory.stages])
    yield "  \n".join(memory.notes(view.report.memory))


def _checks(view: View) -> Iterator[str]:
    if not view.report.checks:
        return
    counts = view.check_counts()
    yield "## Checks"
    yield (
        f"{counts['PASSED']} passed, {counts['FOUND']} found something, {counts['SKIPPED']} skipped, "
        f"{counts['ERROR']} failed themselves"
    )
    lines = [
        f"- {len(rules)} {word}: {_inline(reason)} ({', '.join(rules)})"
        for word, outcome in (("failed", "ERROR"), ("skipped", "SKIPPED"))
        for reason, rules in view.checks_by_reason(outcome)
    ]
    if lines:
        yield (
            "<details><summary>What did not run, and why</summary>\n\n" + "\n".join(lines) + "\n\n</details>"
        )


def _environment(view: View) -> Iterator[str]:
    if not view.report.HasField("environment"):
        return
    report = view.report.environment
    yield "## Environment"
    facts = [report.device, *(f"{name} {version}" for name, version in sorted(report.versions.items()))]
    yield _inline(", ".join(text.clean(fact) for fact in facts if fact))
    if report.emulated:
        yield "\n".join(f"- {_inline(text.clean(sentence))}" for sentence in report.emulated)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _inline(content: str) -> str:
    """Text that Markdown (and the HTML in it) leaves as it is."""
    return re.sub(r"([\\`*_\[\]<>])", r"\\\1", content.replace("\n", " "))


def _fence(content: str, language: str = "") -> str:
    """A code block whose fence the content cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{content}\n{fence}"
