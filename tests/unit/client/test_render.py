import html
import io
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from hotfire.render import charts, diff, formats, markdown, pretty, progress, text, tokens
from hotfire.render.result import Result
from hotfire.v1 import preflight_pb2, report_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("unicode", [True, False])
def test_the_report_says_it_in_order_and_keeps_its_width(broken_preflight, width, unicode):
    shown = pretty.render(broken_preflight, width=width, unicode=unicode)
    parts = [
        "FAIL",
        "Every answer is cut off",
        "Raise max_length to 192",
        "-max_length: 32",
        "+max_length: 192",
        "tried here, and it trains",
        "loss",
        "gradient norm",
        "Without DeepSpeed the same batches give the same NaN loss",
        "ZeRO-2 *",
        "0 % of the tokens are trained on",
        "row 3",
        "no-supervised-tokens D101",
        "it does not cure it: the gradient is still exactly 0",
        "does not fit",
        "changed so that it runs here",
        "no target versions were given",
        "deepspeed 0.19.8",
        "hotfire rules no-supervised-tokens",
    ]
    flat = " ".join(shown.replace("|", " ").replace("│", " ").split())
    at = 0
    for part in parts:
        assert part in flat[at:], part
        at = flat.index(part, at) + len(part)
    assert max(cell_len(line) for line in shown.splitlines()) <= width


def test_a_pipe_gets_no_colour_and_ascii_drawings(broken_preflight):
    out = io.StringIO()
    console = Console(file=out, width=100, highlight=False)
    console.print(pretty.build(broken_preflight, pretty.Look.of(console)))
    assert "\x1b" not in out.getvalue()
    # What is left: a control character of the row made visible, and the mark of a shortened cell.
    assert {c for c in out.getvalue() if ord(c) > 127} <= {"\u241b", "…"}


def test_a_terminal_gets_colour_and_braille(broken_preflight):
    shown = pretty.render(broken_preflight, color=True, unicode=True)
    assert "\x1b[" in shown
    assert any(0x2800 < ord(c) < 0x2900 for c in shown)


def test_row_texts_cannot_drive_the_terminal(broken_preflight):
    broken_preflight.report.headline = "evil \x1b[2J\x07 \u202e headline"
    broken_preflight.report.findings[0].message = "\x1b]0;title\x07"
    for shown in (pretty.render(broken_preflight, unicode=True), markdown.render(broken_preflight)):
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "EXPIRED", "RUNNING"])
def test_a_preflight_without_report_says_why(state):
    preflight = preflight_pb2.Preflight(name="preflights/x", state=f"STATE_{state}")
    if state == "FAILED":
        preflight.error.message = "the worker was lost"
    shown = pretty.render(preflight)
    assert state in shown
    assert ("the worker was lost" in shown) == (state == "FAILED")
    assert markdown.render(preflight).startswith("# ")


def test_an_empty_report_is_no_crash():
    preflight = preflight_pb2.Preflight(
        report=report_pb2.Report(verdict="VERDICT_PASS", headline="It trains")
    )
    assert "It trains" in pretty.render(preflight, unicode=True)
    bare = preflight_pb2.Preflight(
        report=report_pb2.Report(
            verdict="VERDICT_INCONCLUSIVE",
            findings=[report_pb2.Finding()],
            trials=[report_pb2.Trial(), report_pb2.Trial(steps=[report_pb2.Step()])],
            zero=report_pb2.ZeroReport(stages=[report_pb2.StageResult()]),
            data=report_pb2.DataReport(samples=[report_pb2.Sample()]),
            memory=report_pb2.MemoryReport(stages=[report_pb2.MemoryForecast()]),
            environment=report_pb2.Environment(),
            checks=[report_pb2.Check()],
        )
    )
    pretty.render(bare, unicode=True)
    markdown.render(bare)


def test_markdown_is_a_whole_report(broken_preflight):
    shown = markdown.render(broken_preflight)
    assert shown.startswith("# ❌ FAIL: Every answer is cut off")
    for part in ("```diff", "+max_length: 192", "## ZeRO", "| **2** |", "[[⏎Four", "2 skipped", "<details>"):
        assert part in shown


def test_what_is_known_of_the_sample_is_shown_in_every_form(broken_preflight):
    data = broken_preflight.report.data
    data.mask_source = "prefix"
    data.notes.extend(["a byte-order mark", *(f"note {n}" for n in range(9))])
    data.selected.add(row=17, why="role 'tool' (1 of 40 rows)")
    for shown in (
        pretty.render(broken_preflight, width=200, verbose=True),
        markdown.render(broken_preflight),
        html.unescape(formats.render("html", Result.of(broken_preflight))),
    ):
        for words in (
            "found as what each adds",
            "a byte-order mark",
            "note 8",
            "17 (role 'tool' (1 of 40 rows))",
        ):
            assert words in shown
    short = pretty.render(broken_preflight, width=200)
    assert "note 8" not in short
    assert "6 more notes: --verbose" in short


def test_markdown_cannot_be_broken_out_of(broken_preflight):
    sample = broken_preflight.report.data.samples[0]
    sample.tokens[0].text = "```\n<script>"
    broken_preflight.report.headline = "<img src=x> [a](b)"
    shown = markdown.render(broken_preflight)
    assert "\\<img" in shown
    assert "````\n" in shown


# --- Charts -----------------------------------------------------------------------------------------------------

values = st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=50)


@settings(max_examples=80)
@given(values, values, st.integers(20, 90), st.booleans(), st.none() | st.integers(1, 50))
def test_any_curve_can_be_drawn(first, second, width, unicode, peak):
    series = [
        charts.Series(name="a", values=first, style="red", letter="o"),
        charts.Series(name="b", values=second, style="blue", letter="."),
    ]
    lines = charts.chart("loss", series, width=width, unicode=unicode, peak_step=peak)
    assert len(lines) == 6 + 3
    assert all(cell_len(line.plain) <= max(width, 24) for line in lines)
    charts.sparkline(first, unicode=unicode)


def test_a_falling_curve_falls():
    lines = charts.chart("loss", [charts.Series(name="a", values=[3.0, 2.0, 1.0])], width=30, unicode=False)
    columns = [line.plain.find("*") for line in lines[1:7]]
    assert columns == sorted(columns)
    assert lines[1].plain.lstrip().startswith("3|")
    assert lines[6].plain.lstrip().startswith("1|")


def test_what_is_not_finite_is_marked_not_dropped():
    lines = charts.chart("loss", [charts.Series(name="a", values=[1.0, math.nan, math.inf])], width=40)
    assert lines[-1].plain.count("×") >= 2


def test_bars_are_as_long_as_their_share():
    bar = charts.bar([(1, "red"), (1, "blue")], 4.0, width=20)
    assert bar.plain == "█" * 10 + "░" * 10


# --- Small texts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"), (0.0, "0"), (2.34567, "2.346"), (1e-5, "1.00e-05"), (123456.0, "1.23e+05"), (10.0, "10"),
        (float("nan"), "NaN"), (float("-inf"), "-inf"),
    ],
)  # fmt: skip
def test_numbers(value, shown):
    assert text.number(value) == shown


@given(st.floats())
def test_every_number_has_a_text(value):
    assert text.number(value)
    assert text.share(value)


def test_units():
    assert text.size(80 * 2**30) == "80.0 GiB"
    assert text.size(0) == "0 B"
    assert text.seconds(0.02) == "20 ms"
    assert text.seconds(200) == "3 min 20 s"
    assert text.share(0.5) == "50.0 %"
    assert text.share(0) == "0 %"


def test_patches_become_diffs_of_the_file():
    document = {"deepspeed": {"zero_optimization": {"stage": 2, "overlap_comm": True}}, "training": {}}
    patch = [
        report_pb2.PatchOperation(op="remove", path="/deepspeed/zero_optimization/overlap_comm"),
        report_pb2.PatchOperation(op="add", path="/training/max_length"),
    ]
    patch[1].value.number_value = 512
    config, training = diff.file_diffs(document, patch)
    assert '-    "overlap_comm": true' in config.lines
    assert not any(line.startswith(("-", "+")) and "stage" in line for line in config.lines)
    assert "+max_length: 512" in training.lines
    unfit = [report_pb2.PatchOperation(op="remove", path="/deepspeed/nothing")]
    assert diff.file_diffs(document, unfit)[0].lines == ("- /deepspeed/nothing",)
    assert diff.one_line(patch) == "-/deepspeed/zero_optimization/overlap_comm, /training/max_length = 512"


def test_a_renamed_key_stays_where_it_was():
    document = {"deepspeed": {"zero_optimisation": {"stage": 2}, "bf16": {"enabled": True}}}
    patch = [
        report_pb2.PatchOperation(op="remove", path="/deepspeed/zero_optimisation"),
        report_pb2.PatchOperation(op="add", path="/deepspeed/zero_optimization"),
    ]
    patch[1].value.struct_value["stage"] = 2
    (config,) = diff.file_diffs(document, patch)
    changed = [line for line in config.lines if line[0] in "+-"]
    assert changed == ['-  "zero_optimisation": {', '+  "zero_optimization": {']


def test_groups_without_a_gradient_are_shown_beside_the_fix(broken_preflight):
    assert "Parameters" not in pretty.render(broken_preflight)
    candidate, _, fixed = broken_preflight.report.trials
    for trial, silent in ((candidate, 16), (fixed, 0)):
        trial.groups.add(name="lora_a", num_parameters=16, num_silent_parameters=silent, grad_norm=0.5)
    shown = " ".join(pretty.render(broken_preflight).split())
    assert "lora_a 16 of 16 0.5 - 0 of 16 0.5 -" in shown


def test_long_rows_keep_their_ends():
    sample = report_pb2.Sample(
        row=1,
        tokens=[report_pb2.Token(id=i, text=f"w{i} ", trained=i >= 900) for i in range(1000)],
    )
    shown = tokens.draw(sample, color=False, unicode=True, max_chars=200).plain
    assert len(shown) < 260
    assert shown.startswith("w0 ")
    assert shown.endswith("w999 ]]")
    assert "1000 tokens, 100 trained" in tokens.summary(sample)


def test_redacted_rows_show_their_ids():
    sample = report_pb2.Sample(row=1, tokens=[report_pb2.Token(id=7, trained=True)])
    assert tokens.draw(sample, color=False, unicode=True).plain == "[[<7>]]"


# --- Progress ---------------------------------------------------------------------------------------------------


def events(preflight):
    trial = report_pb2.Trial(name="candidate", role="ROLE_CANDIDATE")
    step = report_pb2.Step(step=1, loss=math.nan, grad_norm=0.0, learning_rate=2e-4, applied=False)
    make = service_pb2.WatchPreflightResponse
    return [
        make(state=preflight_pb2.StateEvent(state="STATE_RUNNING")),
        make(progress=preflight_pb2.Progress(phase="prepare")),
        make(trial_started=preflight_pb2.TrialStartedEvent(trial=trial, num_steps=8)),
        make(step=preflight_pb2.StepEvent(trial="candidate", step=step)),
        make(
            trial_finished=preflight_pb2.TrialFinishedEvent(
                trial=report_pb2.Trial(name="candidate", outcome="TRIAL_OUTCOME_DOES_NOT_TRAIN")
            )
        ),
        make(finding=preflight_pb2.FindingEvent(finding=preflight.report.findings[0])),
        make(log=preflight_pb2.LogEvent(message="a note")),
        make(heartbeat=preflight_pb2.HeartbeatEvent()),
        make(state=preflight_pb2.StateEvent(state="STATE_SUCCEEDED", preflight=preflight)),
    ]


def test_one_plain_line_per_event(broken_preflight):
    out = io.StringIO()
    display = progress.PlainProgress(Console(file=out, width=60), clock=lambda: 0.0)
    display.start()
    for event in events(broken_preflight):
        display.event(event)
    display.stop()
    assert out.getvalue().splitlines() == [
        "[   0.0s] state running",
        "[   0.0s] reading model and data",
        "[   0.0s] trial candidate started (as submitted)",
        "[   0.0s] candidate step 1: loss NaN, grad norm 0, lr 2.0e-04, skipped (overflow)",
        "[   0.0s] trial candidate does not train",
        "[   0.0s] error no-supervised-tokens: All 24 rows have no label other than -100: the loss looks at nothing.",
        "[   0.0s] a note",
        "[   0.0s] state succeeded, verdict FAIL",
    ]


def test_the_live_display_leaves_nothing_behind(broken_preflight):
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, _environ={})
    display = progress.make(console)
    assert isinstance(display, progress.LiveProgress)
    display.start()
    for event in events(broken_preflight):
        display.event(event)
    drawn = io.StringIO()
    Console(file=drawn, width=80).print(display._draw())
    display.stop()
    display.stop()
    assert "candidate" in drawn.getvalue()
    assert "does not train" in drawn.getvalue()
    assert "no-supervised-tokens" in drawn.getvalue()
