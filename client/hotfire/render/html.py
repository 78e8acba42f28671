"""The report as one HTML file that needs nothing else: open it from an artifact store, mail it, print it.

Everything that comes from the job is escaped, and the page forbids itself scripts and the network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape

import hotfire
from hotfire import wire
from hotfire.render import diff, memory, svg, text
from hotfire.render.charts import Series
from hotfire.render.html_style import STYLE
from hotfire.render.places import Place
from hotfire.render.result import Result
from hotfire.render.view import (
    MASK_WORDS,
    OUTCOME_WORDS,
    ZERO_PHRASES,
    View,
    curve,
    first_and_last,
    has_values,
    peak_step,
    proof,
)
from hotfire.v1 import report_pb2

_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_MAX_SAMPLE_CHARS = 6000


def render(result: Result) -> str:
    """The page."""
    view = View(result.preflight)
    title = f"{result.verdict}: {text.clean(result.headline)}"
    body: list[str] = [
        f'<p><span class="badge {result.verdict}">{_e(result.verdict)}</span></p>',
        f"<h1>{_e(text.clean(result.headline))}</h1>",
    ]
    if facts := view.facts():
        body.append(f'<p class="dim">{_e(" · ".join(facts))}</p>')
    for heading, parts in (
        ("What to change", _remedy(view)),
        ("Curves", _curves(view)),
        ("ZeRO stages", _zero(view)),
        ("Findings", _findings(view, result)),
        ("What the model sees", _data(view)),
        ("Memory per GPU on the target cluster", _memory(view)),
        ("Trials", _trials(view)),
        ("Checks", _checks(view)),
        ("Environment", _environment(view)),
    ):
        if content := "".join(parts):
            body.append(f"<h2>{heading}</h2>{content}")
    raw = json.dumps(wire.message_to_dict(result.preflight), ensure_ascii=False)
    # Within a script element only "<" could end it.
    raw = raw.replace("<", "\\u003c")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_CSP}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="generator" content="hotfire {hotfire.__version__}">'
        f"<title>{_e(title)}</title><style>{STYLE}</style></head><body>"
        + "\n".join(body)
        + f'\n<script type="application/json" id="preflight">{raw}</script></body></html>\n'
    )


def _e(value: str) -> str:
    return escape(text.clean(value, keep_newlines=True))


def _remedy(view: View) -> Iterator[str]:
    fix = view.remedy
    if fix is None:
        return
    yield f"<p><strong>{_e(fix.description)}</strong></p>"
    yield from _patch(view, fix)
    yield f'<p class="dim">{_e(proof(view, fix))}</p>'


def _patch(view: View, fix: report_pb2.Fix) -> Iterator[str]:
    for change in diff.file_diffs(view.document, fix.patch):
        lines = []
        for line in change.lines:
            tag = {"+": "ins", "-": "del"}.get(line[:1])
            lines.append(f"<{tag}>{_e(line)}</{tag}>" if tag else _e(line))
        yield f'<p class="dim">{_e(change.title)}</p><pre>' + "\n".join(lines) + "</pre>"


def _curves(view: View) -> Iterator[str]:
    compared = view.compared_trials()
    for title, names in (("loss", ("loss",)), ("gradient norm", ("grad_norm_measured", "grad_norm"))):
        series = []
        for i, (name, trial) in enumerate(compared):
            values = next((v for n in names if has_values(v := curve(trial, n))), [])
            if values:
                series.append(Series(name=name, values=values, style=f"s{i}"))
        if series:
            drawn = svg.chart(title, series, peak_step=peak_step(compared[0][1]))
            yield f"<figure><figcaption>{title}</figcaption>{drawn}</figure>"
    if compared:
        keys = [
            f'<span class="key s{i}"></span>{_e(name)} ({_e(_outcome(trial))})'
            for i, (name, trial) in enumerate(compared)
        ]
        yield f'<p class="dim">{" &nbsp; ".join(keys)} &nbsp; × NaN or infinite</p>'


def _zero(view: View) -> Iterator[str]:
    if not view.report.HasField("zero"):
        return
    report = view.report.zero
    phrase = ZERO_PHRASES.get(text.enum_name(report, "guilty"), "")
    if explanation := report.explanation or phrase:
        yield f"<p><strong>{_e(explanation)}</strong></p>"
    if report.guilty_keys:
        yield "<p>Guilty: " + ", ".join(f"<code>{_e(key)}</code>" for key in report.guilty_keys) + "</p>"
    rows = []
    for stage in report.stages:
        submitted = report.HasField("submitted_stage") and stage.stage == report.submitted_stage
        agrees = text.optional(stage, "agrees_with_reference")
        offload = f" +{stage.offload} offload" if stage.offload else ""
        rows.append(
            [
                f"ZeRO-{stage.stage}{offload}" + (" (submitted)" if submitted else ""),
                _outcome(stage),
                "-" if agrees is None else "yes" if agrees else "no",
                text.share(text.optional(stage, "loss_gap")),
                text.share(text.optional(stage, "grad_norm_gap")),
                text.size(text.optional(stage, "peak_memory_bytes")),
                text.seconds(text.optional(stage, "step_seconds")),
                text.size(text.optional(stage, "forecast_bytes")),
            ]
        )
    if rows:
        head = ["stage", "outcome", "agrees", "loss gap", "grad gap", "peak", "step", "on target"]
        yield _table(head, rows, numbers=5)


def _findings(view: View, result: Result) -> Iterator[str]:
    for finding, place in result.findings():
        severity = text.enum_name(finding, "severity")
        aside = f'<span class="dim">{_e(finding.rule_id)} {severity.lower()}</span>'
        parts = [f"<p><b>{_e(finding.rule)}</b> {aside}</p>", f"<p>{_e(finding.message)}</p>"]
        if where := _where(finding, place):
            parts.append(f"<p><code>{_e(where)}</code></p>")
        fixes = [finding.fix] if finding.HasField("fix") else []
        for fix in [*fixes, *finding.alternatives]:
            parts.append(f"<p>→ {_e(fix.description)}</p>")
            if fix.patch:
                parts.append("".join(_patch(view, fix)))
                parts.append(f'<p class="dim">{_e(proof(view, fix))}</p>')
        yield f'<div class="finding {severity}">{"".join(parts)}</div>'


def _where(finding: report_pb2.Finding, place: Place | None) -> str:
    where = text.location_text(finding.location) if finding.HasField("location") else ""
    if place is not None and place.line is not None:
        where = f"{place.file}:{place.line}" + (f"  {where}" if where else "")
    return where


def _data(view: View) -> Iterator[str]:
    if not view.report.HasField("data"):
        return
    report = view.report.data
    rows = []
    if report.HasField("num_rows_read"):
        rows.append(["rows usable", f"{report.num_rows_usable} of {report.num_rows_read}"])
    if report.HasField("supervised_token_share"):
        rows.append(["tokens trained on", text.share(report.supervised_token_share)])
    if report.HasField("length_p50"):
        lengths = (report.length_p50, report.length_p90, report.length_p99, report.length_max)
        rows.append(["tokens per row: median, p90, p99, most", ", ".join(map(str, lengths))])
    if report.HasField("truncated_row_share"):
        rows.append(["rows cut", text.share(report.truncated_row_share)])
    rows += [[f"row {rejected.row} rejected", rejected.reason] for rejected in report.rejected[:20]]
    if rows:
        yield _table(["", ""], rows)
    notes = [MASK_WORDS.get(report.mask_source, ""), *report.notes]
    if chosen := view.selected_rows():
        notes.append(f"rows that run first, and why: {chosen}")
    if any(notes):
        yield "<ul>" + "".join(f"<li>{_e(note)}</li>" for note in notes if note) + "</ul>"
    for sample in report.samples:
        trained = sum(token.trained for token in sample.tokens)
        head = f"row {sample.row}, {sample.why}: {len(sample.tokens)} tokens, {trained} trained"
        yield f"<details open><summary>{_e(head)}</summary><pre>{_tokens(sample)}</pre></details>"


def _tokens(sample: report_pb2.Sample) -> str:
    parts, length, kind = [], 0, None
    for token in sample.tokens:
        content = token.text if token.HasField("text") else f"<{token.id}>"
        length += len(content)
        if length > _MAX_SAMPLE_CHARS:
            parts.append("…")
            break
        if token.trained is not kind:
            parts.append("</span>" if kind is not None else "")
            parts.append(f'<span class="{"trained" if token.trained else "untrained"}">')
            kind = token.trained
        parts.append(_e(content))
    return "".join(parts) + ("</span>" if kind is not None else "")


def _memory(view: View) -> Iterator[str]:
    if not view.report.HasField("memory") or not view.report.memory.stages:
        return
    stages = view.report.memory.stages
    largest = max(1, *(max(s.available_bytes, s.total_bytes) for s in stages))
    rows = []
    for stage in stages:
        parts = (("a", stage.states_bytes), ("b", stage.activations_bytes), ("c", stage.buffers_bytes))
        bar = "".join(f'<i class="{c}" style="width:{100 * n / largest:.1f}%"></i>' for c, n in parts)
        rows.append(
            "".join(f"<td>{_e(c)}</td>" for c in memory.cells(stage))
            + f'<td><div class="bar">{bar}</div></td>'
        )
    head = "".join(f"<th>{h}</th>" for h in (*memory.COLUMNS, ""))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    yield f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    yield f"<p>{_e('; '.join(memory.notes(view.report.memory)))}</p>"


def _trials(view: View) -> Iterator[str]:
    rows = []
    for trial in view.report.trials:
        norms = curve(trial, "grad_norm_measured")
        applied = sum(1 for step in trial.steps if step.applied)
        error = (
            f"{trial.error.type}: {trial.error.message}"[:300] if trial.HasField("error") else trial.reason
        )
        rows.append(
            [
                trial.name,
                _outcome(trial),
                f"{applied}/{len(trial.steps)}" if trial.steps else "-",
                first_and_last(curve(trial, "loss")),
                first_and_last(norms if has_values(norms) else curve(trial, "grad_norm")),
                text.seconds(sum(trial.phase_seconds.values()) or None),
                error or diff.one_line(trial.patch, short=True),
            ]
        )
    if rows:
        yield _table(["trial", "outcome", "applied", "loss", "gradient norm", "took", "note"], rows)


def _checks(view: View) -> Iterator[str]:
    if not view.report.checks:
        return
    counts = view.check_counts()
    yield (
        f"<p>{counts['PASSED']} passed, {counts['FOUND']} found something, {counts['SKIPPED']} skipped, "
        f"{counts['ERROR']} failed themselves.</p>"
    )
    rows = [
        [word, reason, ", ".join(rules)]
        for word, outcome in (("failed", "ERROR"), ("skipped", "SKIPPED"))
        for reason, rules in view.checks_by_reason(outcome)
    ]
    if rows:
        table = _table(["", "reason", "rules"], rows)
        yield f"<details><summary>What did not run, and why</summary>{table}</details>"


def _environment(view: View) -> Iterator[str]:
    if not view.report.HasField("environment"):
        return
    report = view.report.environment
    facts = [report.device, *(f"{name} {version}" for name, version in sorted(report.versions.items()))]
    yield f"<p>{_e(', '.join(fact for fact in facts if fact))}</p>"
    if report.emulated:
        yield "<ul>" + "".join(f"<li>{_e(sentence)}</li>" for sentence in report.emulated) + "</ul>"


def _outcome(message: report_pb2.Trial | report_pb2.StageResult) -> str:
    name = text.enum_name(message, "outcome")
    return OUTCOME_WORDS.get(name, name)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 0) -> str:
    """A table; the last `numbers` columns are set right."""
    first = len(head) - numbers

    def cells(tag: str, values: Sequence[str]) -> str:
        marks = [' class="n"' if i >= first else "" for i in range(len(values))]
        return "".join(f"<{tag}{m}>{_e(v)}</{tag}>" for m, v in zip(marks, values, strict=True))

    top = f"<thead><tr>{cells('th', head)}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table>{top}<tbody>{body}</tbody></table>"
