"""The evidence: curves, the ZeRO table, what the model sees, memory, trials, environment."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hotfire import wire
from hotfire.render import charts, diff, text, tokens
from hotfire.render import memory as render_memory
from hotfire.render.frame import OUTCOME_STYLES, Look, table
from hotfire.render.view import (
    MASK_WORDS,
    OUTCOME_WORDS,
    ZERO_PHRASES,
    View,
    curve,
    first_and_last,
    has_values,
    peak_step,
)
from hotfire.v1 import report_pb2

_SERIES = (("red", "o"), ("blue", "."), ("green", "+"))
_NUM_SAMPLES = 2
_NUM_NOTES = 4
_NUM_SELECTED = 5
_GRAD_NORM_COLUMN = 4
_AGREES = {None: Text("-", style="dim"), True: Text("yes", style="green"), False: Text("no", style="red")}


def curves(view: View, look: Look) -> RenderableType | None:
    """Loss and gradient norm, as submitted, in plain PyTorch, and with the fix."""
    compared = view.compared_trials()
    if not compared:
        return None
    styles = dict(zip(("as submitted", "plain PyTorch", "with the fix"), _SERIES, strict=True))
    candidate_ok = compared[0][1].outcome == report_pb2.TRIAL_OUTCOME_TRAINS
    if candidate_ok:
        styles["as submitted"] = ("green", "o")
    inner = look.width - 2
    beside = inner >= 70
    width = (inner - 3) // 2 if beside else inner
    blocks: list[list[Text]] = []
    for title, names in (("loss", ("loss",)), ("gradient norm", ("grad_norm_measured", "grad_norm"))):
        series = []
        for name, trial in compared:
            values = next((v for n in names if has_values(v := curve(trial, n))), [])
            if has_values(values):
                style, letter = styles[name]
                series.append(charts.Series(name=name, values=values, style=style, letter=letter))
        if series:
            step = peak_step(compared[0][1])
            blocks.append(charts.chart(title, series, width=width, unicode=look.unicode, peak_step=step))
    if not blocks:
        return None
    legend = Text()
    for name, trial in compared:
        style, letter = styles[name]
        legend.append(f"{'━━' if look.unicode else letter} ", style=style)
        legend.append(f"{name}")
        outcome = text.enum_name(trial, "outcome")
        legend.append(f" ({OUTCOME_WORDS.get(outcome, outcome)})   ", style="dim")
    if any(v is not None and not math.isfinite(v) for _, t in compared for v in curve(t, "loss")):
        note = "× NaN or infinite" if look.unicode else "x NaN or infinite"
        legend.append(note if len(legend) + len(note) <= inner else f"\n{note}", style="dim")
    return Group(*_side_by_side(blocks, width) if beside else _stacked(blocks), legend)


def groups(view: View, look: Look) -> RenderableType | None:
    """The kinds of parameters, where some of them get no gradient: as submitted, and with the fix."""
    candidate, fixed = view.trial(report_pb2.ROLE_CANDIDATE), view.fix_trial
    if candidate is None or not any(group.num_silent_parameters for group in candidate.groups):
        return None
    after = {group.name: group for group in fixed.groups} if fixed is not None else {}
    rows = table(look)
    rows.add_column("group", no_wrap=True)
    for name in ("without gradient", "grad norm", "update"):
        rows.add_column(name, justify="right", no_wrap=True)
    if after:
        for name in ("with the fix", "grad norm", "update"):
            rows.add_column(name, justify="right", no_wrap=True)
    for group in candidate.groups:
        cells = _group_cells(group)
        if after:
            cells += _group_cells(after[group.name]) if group.name in after else [Text("-")] * 3
        rows.add_row(Text(text.clean(group.name), style="bold"), *cells)
    return rows


def _group_cells(group: report_pb2.ParameterGroup) -> list[Text]:
    silent, total = group.num_silent_parameters, group.num_parameters
    style = "green" if not silent else "bold red" if silent == total else "yellow"
    return [
        Text(f"{silent} of {total}", style=style),
        Text(text.number(text.optional(group, "grad_norm"))),
        Text(text.number(text.optional(group, "update_ratio"), digits=3)),
    ]


def _side_by_side(blocks: list[list[Text]], width: int) -> list[RenderableType]:
    grid = Table.grid(padding=(0, 3, 0, 0))
    for _ in blocks:
        grid.add_column(width=width, no_wrap=True)
    for row in zip(*blocks, strict=True):
        if any(cell.plain.strip() for cell in row):
            grid.add_row(*row)
    return [grid]


def _stacked(blocks: list[list[Text]]) -> list[RenderableType]:
    return [line for block in blocks for line in block if line.plain.strip()]


def zero(view: View, look: Look) -> RenderableType | None:
    """What ZeRO's part in it is, and the stages beside each other."""
    if not view.report.HasField("zero"):
        return None
    report = view.report.zero
    guilty = text.enum_name(report, "guilty")
    explanation = text.clean(report.explanation) or ZERO_PHRASES.get(guilty, "")
    parts: list[RenderableType] = [Text(look.fit(explanation), style="bold")] if explanation else []
    if report.guilty_keys:
        parts.append(Text(f"guilty: {text.clean(', '.join(report.guilty_keys))}", style="red"))
    if report.stages:
        parts.append(Padding(_stages(report, look), (1 if parts else 0, 0, 0, 0)))
    return Group(*parts) if parts else None


def _stages(report: report_pb2.ZeroReport, look: Look) -> Table:
    columns: list[tuple[str, list[Text]]] = [
        ("loss gap", [Text(text.share(text.optional(s, "loss_gap"))) for s in report.stages]),
        ("grad gap", [Text(text.share(text.optional(s, "grad_norm_gap"))) for s in report.stages]),
        ("peak", [Text(text.size(text.optional(s, "peak_memory_bytes"))) for s in report.stages]),
        ("step", [Text(text.seconds(text.optional(s, "step_seconds"))) for s in report.stages]),
        ("on target", [Text(text.size(text.optional(s, "forecast_bytes"))) for s in report.stages]),
    ]
    columns = [
        (name, cells)
        for name, cells in columns
        if any(cell.plain != "-" for cell in cells) and (look.width >= 90 or name != "step")
    ]
    rows = table(look)
    for name in ("stage", "outcome", "agrees"):
        rows.add_column(name, no_wrap=True)
    for name, _ in columns:
        rows.add_column(name, justify="right", no_wrap=True)
    for i, stage in enumerate(report.stages):
        outcome = text.enum_name(stage, "outcome")
        submitted = report.HasField("submitted_stage") and stage.stage == report.submitted_stage
        rows.add_row(
            Text(f"ZeRO-{stage.stage}{' *' if submitted else ''}", style="bold" if submitted else ""),
            Text(OUTCOME_WORDS.get(outcome, outcome), style=OUTCOME_STYLES.get(outcome, "red")),
            _AGREES[text.optional(stage, "agrees_with_reference")],
            *(cells[i] for _, cells in columns),
        )
    notes = []
    if any(report.HasField("submitted_stage") and s.stage == report.submitted_stage for s in report.stages):
        notes.append("* as submitted")
    if any(name.endswith("gap") for name, _ in columns):
        notes.append("gaps: to plain PyTorch at the first step")
    if any(name == "on target" for name, _ in columns):
        notes.append("on target: forecast per GPU")
    rows.caption, rows.caption_justify = "; ".join(notes) or None, "left"
    return rows


def data(view: View, look: Look, *, verbose: bool) -> RenderableType | None:
    """The sample in numbers, and some rows as tokens."""
    if not view.report.HasField("data"):
        return None
    report = view.report.data
    line = Text()
    supervised = text.optional(report, "supervised_token_share")
    if supervised is not None:
        line.append_text(charts.bar([(supervised, "green")], 1.0, width=24, unicode=look.unicode))
        style = "red bold" if supervised == 0 else "bold"
        line.append(f"  {text.share(supervised)} of the tokens are trained on\n", style=style)
    usable, read = text.optional(report, "num_rows_usable"), text.optional(report, "num_rows_read")
    facts = []
    if read is not None:
        facts.append(f"{usable if usable is not None else '?'} of {text.plural(read, 'row')} usable")
    if name := text.enum_name(report, "format"):
        facts.append(f"format {name.lower()}")
    if report.HasField("length_p50"):
        facts.append(
            f"tokens per row: median {report.length_p50}, p90 {report.length_p90}, most {report.length_max}"
        )
    if report.HasField("truncated_row_share"):
        facts.append(f"{text.share(report.truncated_row_share)} of the rows cut")
    line.append(look.fit("  ·  ".join(facts)), style="dim")
    parts: list[RenderableType] = [line] if line.plain else []
    parts += _about_the_sample(view, look, verbose=verbose)
    for rejected in list(report.rejected)[: 20 if verbose else 3]:
        parts.append(
            Text(f"{look.sign('bad')} row {rejected.row}: {text.clean(rejected.reason)}", style="red")
        )
    hidden = len(report.rejected) - (20 if verbose else 3)
    if hidden > 0:
        parts.append(Text(f"  ... and {text.plural(hidden, 'more row')} rejected", style="dim"))
    for sample in list(report.samples)[: None if verbose else _NUM_SAMPLES]:
        parts.append(Text(look.fit(f"\n{tokens.summary(sample)}"), style="bold"))
        body = tokens.draw(
            sample, color=look.color, unicode=look.unicode, max_chars=4000 if verbose else 4 * look.width
        )
        parts.append(Padding(body, (0, 0, 0, 2)))
    if report.samples:
        mark = Text("green", style=tokens.TRAINED) if look.color else Text("[[brackets]]")
        note = Text("\nwhat the loss looks at is ", style="dim").append_text(mark)
        parts.append(note)
    return Group(*parts) if parts else None


def _about_the_sample(view: View, look: Look, *, verbose: bool) -> list[RenderableType]:
    """How the mask was made, what reading the sample showed, which rows were chosen."""
    report = view.report.data
    lines = [MASK_WORDS.get(report.mask_source, "")]
    lines += [text.clean(note) for note in list(report.notes)[: None if verbose else _NUM_NOTES]]
    if not verbose and len(report.notes) > _NUM_NOTES:
        lines.append(f"{text.plural(len(report.notes) - _NUM_NOTES, 'more note')}: --verbose")
    if chosen := view.selected_rows(None if verbose else _NUM_SELECTED):
        lines.append(f"rows that run first, and why: {chosen}")
    return [Text(look.fit(f"{look.sign('dot')} {line}"), style="dim") for line in lines if line]


def memory(view: View, look: Look) -> RenderableType | None:
    """The forecast per stage against what a GPU has."""
    report = view.report.memory
    if not view.report.HasField("memory") or not report.stages:
        return None
    submitted = view.report.zero.submitted_stage if view.report.zero.HasField("submitted_stage") else None
    return memory_table(report, look, submitted=submitted)


def memory_table(
    report: report_pb2.MemoryReport, look: Look, *, submitted: int | None = None
) -> RenderableType:
    """Stages and offloads, each with a bar.

    Args:
        report: The forecast.
        look: What the output can show.
        submitted: The job's stage, marked.
    """
    available = max((s.available_bytes for s in report.stages), default=0)
    largest = max(available, *(s.total_bytes for s in report.stages))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    for forecast in report.stages:
        parts = (
            (float(forecast.states_bytes), "blue"),
            (float(forecast.activations_bytes), "cyan"),
            (float(forecast.buffers_bytes), "bright_black"),
        )
        words, style = render_memory.fit_words(forecast)
        total = text.size(forecast.total_bytes)
        if (band := render_memory.band(forecast)) != "-":
            total += f" ({band})"
        marked = submitted is not None and forecast.stage == submitted
        grid.add_row(
            Text(render_memory.placement(forecast), style="bold" if marked else ""),
            charts.bar(parts, float(largest), width=max(12, look.width // 6), unicode=look.unicode),
            total,
            Text(words, style),
        )
    legend = Text()
    for word, style in (("states", "blue"), ("activations", "cyan"), ("buffers", "bright_black")):
        legend.append("■ " if look.unicode else "", style=style)
        legend.append(f"{word}  ", style="dim")
    legend.append(look.fit("  ·  ".join(render_memory.notes(report))), style="dim")
    return Group(grid, legend)


def trials(view: View, look: Look, *, verbose: bool) -> RenderableType | None:
    """Every run, one line each, and what had to be changed so that the job runs here."""
    if not view.report.trials:
        return None
    rows = table(look)
    rows.add_column("trial", no_wrap=True)
    rows.add_column("outcome", no_wrap=True)
    rows.add_column("applied", justify="right", no_wrap=True)
    rows.add_column("loss", no_wrap=True)
    wide = look.width >= 90
    if wide:
        rows.add_column("grad norm", no_wrap=True)
    rows.add_column("took", justify="right", no_wrap=True)
    # The note takes what the others leave.
    rows.expand = True
    rows.add_column("note", overflow="fold" if verbose else "ellipsis", no_wrap=not verbose, ratio=1)
    for trial in view.report.trials:
        outcome = text.enum_name(trial, "outcome")
        applied = sum(1 for s in trial.steps if s.applied)
        took = sum(trial.phase_seconds.values()) or None
        norms = curve(trial, "grad_norm_measured")
        cells: list[str | Text] = [
            text.clean(trial.name),
            Text(OUTCOME_WORDS.get(outcome, outcome), style=OUTCOME_STYLES.get(outcome, "red")),
            f"{applied}/{len(trial.steps)}" if trial.steps else "-",
            look.fit(first_and_last(curve(trial, "loss"))),
            look.fit(first_and_last(norms if has_values(norms) else curve(trial, "grad_norm"))),
            text.seconds(took),
            Text(_note(trial), style="dim"),
        ]
        rows.add_row(*(cell for i, cell in enumerate(cells) if wide or i != _GRAD_NORM_COLUMN))
    parts: list[RenderableType] = [rows]
    adaptations = _adaptations(view.report.trials)
    if adaptations:
        parts.append(Text("\nchanged so that it runs here:", style="dim"))
        parts += [Text(look.fit(f"{look.sign('dot')} {line}"), style="dim") for line in adaptations]
    return Group(*parts)


def _note(trial: report_pb2.Trial) -> str:
    if trial.HasField("error"):
        rank = f" on rank {trial.error.rank}" if trial.error.HasField("rank") else ""
        message = trial.error.message.strip().splitlines()
        return text.clean(f"{trial.error.type}{rank}: {message[0] if message else ''}")
    if trial.patch and trial.role != report_pb2.ROLE_STAGE:
        return diff.one_line(trial.patch, short=True)
    return "" if trial.outcome == report_pb2.TRIAL_OUTCOME_TRAINS else text.clean(trial.reason)


def _adaptations(all_trials: Sequence[report_pb2.Trial]) -> list[str]:
    """The candidate's adaptations; the other trials have the same."""
    lines = []
    for adaptation in all_trials[0].adaptations if all_trials else ():
        change = ""
        if adaptation.HasField("before") or adaptation.HasField("after"):
            before = text.value_text(wire.value_to_python(adaptation.before), limit=30)
            after = text.value_text(wire.value_to_python(adaptation.after), limit=30)
            change = f": {before if adaptation.HasField('before') else 'unset'} → {after}"
        reason = f" ({text.clean(adaptation.reason)})" if adaptation.reason else ""
        lines.append(text.clean(adaptation.path) + change + reason)
    return lines


def environment(view: View, look: Look, *, verbose: bool) -> RenderableType | None:
    """Versions, device, and what was emulated."""
    if not view.report.HasField("environment"):
        return None
    report = view.report.environment
    order = ["deepspeed", "torch", "transformers", "accelerate", "peft", "python"]
    names = [n for n in order if n in report.versions]
    if verbose or not names:
        names += sorted(set(report.versions) - set(order))
    facts = [f"{text.clean(n)} {text.clean(report.versions[n])}" for n in names]
    where = [
        part for part in (report.device, report.launcher and f"{report.launcher} start", report.pool) if part
    ]
    line = Text(look.fit("  ·  ".join([text.clean(part) for part in where] + facts)), style="dim")
    lines: list[RenderableType] = [line] if line.plain else []
    lines += [Text(f"{look.sign('info')} {look.fit(text.clean(s))}", style="dim") for s in report.emulated]
    return Group(*lines) if lines else None


def sample(message: report_pb2.Sample, look: Look) -> RenderableType:
    """One row, whole: `hotfire get ID --row N`."""
    body = tokens.draw(message, color=look.color, unicode=look.unicode, max_chars=10**9)
    ids = Columns(
        [Text(str(t.id), style="green" if t.trained else "dim") for t in message.tokens], padding=(0, 1)
    )
    return Group(
        Text(look.fit(tokens.summary(message)), style="bold"), body, Text("\nids", style="bold"), ids
    )
