"""What DeepSpeed will really use, as a diff against the file, and the learning rate of the whole job."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from hotfire.dsconfig import effective, schedule
from hotfire.dsconfig.account import Line, account
from hotfire.dsconfig.schedule_survey import samples, survey
from hotfire.patch import split_pointer
from hotfire.render import charts, text
from hotfire.render.frame import Look
from hotfire.rules.evidence import Evidence, Finding

_UNREAD_RULES = ("unknown-key", "ignored-setting")
_WHY_COLUMN = 56


def lines_of(evidence: Evidence, findings: Sequence[Finding]) -> list[Line]:
    """The account of a config; empty where it could not be read.

    Args:
        evidence: With the config, and what takes effect of it.
        findings: What the rules found: they know which keys are without effect.
    """
    config = evidence.config
    if config is None or config.given is None or config.effective is None:
        return []
    unread = {
        operation.path.removeprefix("/deepspeed")
        for finding in findings
        if finding.rule in _UNREAD_RULES and finding.fix is not None
        for operation in finding.fix.patch
        if operation.op == "remove"
    }
    waiting = set(_autos(config.effective)) if evidence.loop != "DEEPSPEED" else set()
    return account(config.given, config.effective, unread=unread, waiting=waiting - set(config.unresolved))


def build(evidence: Evidence, findings: Sequence[Finding], look: Look) -> RenderableType:
    """The diff and the curve for a terminal."""
    parts: list[RenderableType] = []
    body = Text()
    for line, shown in diff_lines(lines_of(evidence, findings)):
        style = {"+": "green", "-": "red"}.get(line.sign, "")
        body.append(f"{line.sign} {shown}", style=style if look.color else "")
        if line.why:
            gap = max(2, _WHY_COLUMN - len(shown))
            body.append(f"{' ' * gap}{line.why}", style="dim")
        body.append("\n")
    if body:
        body.rstrip()
        parts += [Text("What DeepSpeed will use  (- the file, + in effect)", style="bold"), body]
    if curve := learning_rate(evidence, look):
        parts += [Text(""), *curve]
    return Group(*parts, Text(""))


def diff_lines(lines: Sequence[Line]) -> list[tuple[Line, str]]:
    """Each line of an account as text: `zero_optimization:`, `  stage: 2`."""
    shown = []
    for line in lines:
        keys = split_pointer(line.pointer)
        value = "" if line.section else " " + json.dumps(line.value, ensure_ascii=False, default=str)
        shown.append((line, text.clean(f"{'  ' * (len(keys) - 1)}{keys[-1]}:{value}")))
    return shown


def learning_rate(evidence: Evidence, look: Look) -> list[Text]:
    """The curve over the whole job; where its length is not known, one line says what is missing."""
    config = evidence.config
    if config is None or config.effective is None or config.given is None:
        return []
    training, cluster = evidence.training or {}, evidence.cluster
    world = cluster.world_size if cluster is not None else None
    triple = effective.batch(config.given, training, evidence.loop, world)
    total = schedule.total_steps(training, cluster, triple) if cluster is not None else None
    curve = schedule.learning_rates(config.effective, training, total)
    if total is None or total < 1:
        return [
            Text(
                "learning rate: the length of the job is not known (training.max_steps, or --num-train-rows and "
                "--num-gpus)",
                style="dim",
            )
        ]
    if curve is None:
        return [Text("learning rate: the curve of this scheduler is not known", style="dim")]
    width = min(look.width - 2, 76)
    end = total if curve.fails_at is None else min(total, curve.fails_at)
    points = samples(curve, end, 2 * width) if end > 0 else []
    if not points:
        return [Text("learning rate: the scheduler fails at the first step", style="red")]
    values = [rate for _, rate in points]
    seen = survey(curve, end)
    title = (
        f"learning rate of the job ({curve.source}): {text.number(values[0], digits=3)} at step 1, highest "
        f"{text.number(seen.highest, digits=3)} at step {seen.highest_step + 1}, "
        f"{text.number(values[-1], digits=3)} at step {end}"
    )
    if end < total:
        title += f", where the scheduler fails ({total} steps wanted)"
    series = [charts.Series(name="lr", values=values, style="green")]
    drawn = charts.chart("", series, width=width, height=5, unicode=look.unicode, last_step=end)
    return [Text(title, style="bold"), *drawn[1:-1]]


def _autos(config: object, pointer: str = "") -> list[str]:
    if config == "auto":
        return [pointer]
    if isinstance(config, dict):
        return [p for key, value in config.items() for p in _autos(value, f"{pointer}/{key}")]
    return []
