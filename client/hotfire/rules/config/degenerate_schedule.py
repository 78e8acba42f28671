"""C113 degenerate-schedule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.dsconfig import effective, schedule_faults
from hotfire.dsconfig.schedule import Schedule, learning_rates
from hotfire.dsconfig.schedule_survey import Survey, survey
from hotfire.dsconfig.versions import parse
from hotfire.rules.config.common import config_of, named, place, put, version_of
from hotfire.rules.config.job import GIVE_THE_LOOP, effective_config, refused, total_steps
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, PatchOperation, Severity
from hotfire.rules.remedy import set_value
from hotfire.rules.wording import counted, number, percent

_SECTION = "/scheduler"
_WARMUP = "/scheduler/params/warmup_num_steps"
_LENGTH = "/scheduler/params/total_num_steps"
#: A curve reaches its maximum where it comes this near.
_REACHED = 0.95
_HALF = 0.5
#: Steps at rate 0 that a curve may have at its end, as a share of the job.
_IDLE_SHARE = 0.02
_LENGTH_TOLERANCE = 0.05
_WARMUP_SHARE = 10
"""A tenth of the job: what a patch gives the warm-up."""


class DegenerateSchedule(Rule):
    """The learning rate, over the whole job, does not do what a schedule is for.

    Why:
        A trial of a few steps sees only the beginning of the warm-up: a schedule whose warm-up is longer than the
        job, whose maximum is 0, that ends after a tenth of the job or that divides by zero at step 900 looks well
        there. The curve is worked out here for every step of the real job. What a constructor refuses is told too.

    Example:
        `WarmupDecayLR` with `total_num_steps: 100` in a job of 1000 steps: the rate is 0 for the last 900;
        `WarmupLR` with its default `warmup_num_steps` of 1000 in a job of 50; `lr_scheduler_type: "cosin"`.

        Bad:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2,
            "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_num_steps": 10, "total_num_steps": 100}}
          },
          "training": {"max_steps": 1000}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2,
            "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_num_steps": 10, "total_num_steps": 1000}}
          },
          "training": {"max_steps": 1000}
        }
        ```

    Fix:
        "auto" for the lengths (HF Trainer); else the numbers of the real job, and a warm-up of a few percent of it.

    Source:
        deepspeed/runtime/lr_schedules.py (0.15.4 to 0.19.8), transformers/optimization.py (5.23); DeepSpeed commits
        2163a0130, 90e30f4d7, 886790b5a; failures F93, F94, F95.
    """

    id = "C113"
    name = "degenerate-schedule"
    severity = Severity.ERROR
    needs = ("config",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """First what cannot be made, then the curve over the job."""
        config, training = effective_config(evidence), evidence.training or {}
        section = config_of(evidence).get("scheduler")
        owned = isinstance(section, dict) and section.get("type") is not None
        faults = list(_faults(evidence, section if owned else None, config))
        yield from (_fault(evidence, fault) for fault in faults)
        if any(fault.refused for fault in faults):
            return
        total = total_steps(evidence)
        curve = learning_rates(config, training, total, version=version_of(evidence))
        if curve is None:
            if owned or (training.get("lr_scheduler_type") and total is not None):
                raise Skip(
                    "the curve cannot be worked out: the scheduler, or one of its numbers, is not known"
                )
            return
        if evidence.loop is None and not owned and not training:
            return  # a bare file without a schedule
        yield from _curve(evidence, curve, total)


def _faults(
    evidence: Evidence, section: dict[str, Any] | None, config: dict[str, Any]
) -> Iterable[schedule_faults.Fault]:
    training = evidence.training or {}
    if section is not None:
        yield from schedule_faults.of_deepspeed(section, parse(version_of(evidence)))
    elif evidence.loop in (None, "TRAINER") or training.get("lr_scheduler_type") is not None:
        optimizer = config.get("optimizer")
        params = optimizer.get("params") if isinstance(optimizer, dict) else None
        rate = params.get("lr") if isinstance(params, dict) else training.get("learning_rate")
        yield from schedule_faults.of_trainer(training, effective.number(rate))


def _fault(evidence: Evidence, fault: schedule_faults.Fault) -> Finding:
    severity = refused(evidence) if fault.refused else Severity.WARNING
    message = fault.message + "."
    if fault.refused and evidence.loop is None:
        message += GIVE_THE_LOOP
    fix = Fix(description="Give it what it needs, or take another scheduler.")
    if fault.better is not None:
        fix = Fix(
            description=f"Write {fault.better}.", patch=[set_value(evidence, fault.place, fault.better)]
        )
    elif fault.place.endswith("/total_num_steps"):
        total = total_steps(evidence)
        value = total if evidence.loop == "DEEPSPEED" else "auto"
        if value is not None:
            fix = Fix(
                description=f"Give it the length of the job: {value}.",
                patch=put(config_of(evidence), _LENGTH, value),
            )
    return Finding(
        message=message,
        severity=severity,
        blocks_start=fault.refused and severity is Severity.ERROR,
        location=_location(evidence, fault.place),
        evidence={"key": fault.place.rpartition("/")[2]},
        fix=fix,
    )


def _location(evidence: Evidence, path: str) -> Location:
    if path.startswith("/deepspeed"):
        return place(evidence, path.removeprefix("/deepspeed"))
    return Location(config_path=path)


def _curve(evidence: Evidence, curve: Schedule, total: int | None) -> Iterable[Finding]:
    if curve.fails_at is not None and (total is None or curve.fails_at <= total):
        yield _crash(evidence, curve, total)
        return
    if curve.top == 0 or (curve.top is None and curve.peak == 0):
        yield _always_zero(evidence, curve, "its maximum is 0")
        return
    if total is None or total < 1:
        yield from _without_length(evidence, curve)
        return
    seen = survey(curve, total)
    top = curve.top or curve.peak
    if seen.highest <= 0:
        why = f"the job has {counted(total, 'step')}, and the warm-up begins at 0"
        yield _always_zero(evidence, curve, why)
    elif seen.highest < _REACHED * top:
        yield _never_there(evidence, curve, seen, top)
    elif seen.num_zero_at_end > max(2, _IDLE_SHARE * total):
        yield _idle_end(evidence, curve, seen)
    elif curve.source.startswith("deepspeed") and curve.length is not None and curve.length > total:
        if curve.length - total > max(1, _LENGTH_TOLERANCE * total):
            yield _too_long(evidence, curve, seen, top)
    elif not seen.highest <= top * (1 + _LENGTH_TOLERANCE) and curve.source != "deepspeed:LRRangeTest":
        yield _finding(
            evidence,
            f"The learning rate rises to {number(seen.highest)}, above its maximum of {number(top)}",
            seen,
            Severity.WARNING,
            _SECTION,
            Fix(description="Check the numbers of the schedule."),
        )


def _crash(evidence: Evidence, curve: Schedule, total: int | None) -> Finding:
    at = curve.fails_at or 0
    where = _WARMUP if curve.source.startswith("deepspeed") else None
    finding = _finding(
        evidence,
        f"The schedule divides by zero after step {at}: its warm-up is as long as the schedule itself "
        f"({curve.length})",
        None,
        Severity.ERROR,
        where or "/training/warmup_steps",
        _shorter_warmup(evidence, curve, min(total or at, curve.length or at)),
    )
    finding.evidence |= {"fails_after_step": at, "total_steps": total}
    return finding


def _always_zero(evidence: Evidence, curve: Schedule, why: str) -> Finding:
    deepspeed = curve.source.startswith("deepspeed")
    path = "/scheduler/params/warmup_max_lr" if deepspeed else "/training/learning_rate"
    wanted = effective.number((evidence.training or {}).get("learning_rate"))
    fix = Fix(description="Give it a maximum above 0, and a warm-up shorter than the job.")
    if deepspeed and wanted and config_of(evidence).get("scheduler", {}).get("type") != "WarmupCosineLR":
        fix = Fix(
            description=f"Let it rise to learning_rate: {wanted:g}.",
            patch=put(config_of(evidence), path, wanted),
        )
    return _finding(
        evidence,
        f"The learning rate is 0 at every step: {why}, so that nothing is learnt",
        None,
        Severity.ERROR,
        path,
        fix,
    )


def _never_there(evidence: Evidence, curve: Schedule, seen: Survey, top: float) -> Finding:
    share = percent(seen.highest, top)
    return _finding(
        evidence,
        f"The learning rate never reaches its maximum of {number(top)}: it gets to {number(seen.highest)} ({share}), "
        f"as the job has {counted(seen.total_steps, 'step')} and the rise takes {curve.warmup_steps}",
        seen,
        Severity.ERROR if seen.highest < _HALF * top else Severity.WARNING,
        _WARMUP if curve.source.startswith("deepspeed") else "/training/warmup_steps",
        _shorter_warmup(evidence, curve, seen.total_steps),
    )


def _idle_end(evidence: Evidence, curve: Schedule, seen: Survey) -> Finding:
    idle, total = seen.num_zero_at_end, seen.total_steps
    made_for = (
        f"it was made for {counted(curve.length, 'step')}" if curve.length is not None else "it ends early"
    )
    deepspeed = curve.source.startswith("deepspeed")
    fix = Fix(description="Make the schedule as long as the job.")
    if deepspeed and curve.length is not None:
        fix = _whole_length(evidence, total)
    return _finding(
        evidence,
        f"The learning rate is {number(seen.last)} for the last {idle} of {counted(total, 'step')} "
        f"({percent(idle, total)}): {made_for}",
        seen,
        Severity.ERROR,
        _LENGTH if deepspeed else "/training/lr_scheduler_kwargs",
        fix,
    )


def _too_long(evidence: Evidence, curve: Schedule, seen: Survey, top: float) -> Finding:
    return _finding(
        evidence,
        f"The schedule was made for {curve.length} steps and the job has {seen.total_steps}: the last step still runs "
        f"at {number(seen.last)} ({percent(seen.last, top)} of the maximum)",
        seen,
        Severity.WARNING,
        _LENGTH,
        _whole_length(evidence, seen.total_steps),
    )


def _without_length(evidence: Evidence, curve: Schedule) -> Iterable[Finding]:
    """What can be said though the length of the job is not known: the schedule's own."""
    if (
        curve.length is not None
        and curve.source.startswith("deepspeed")
        and curve.length <= curve.warmup_steps
    ):
        yield _finding(
            evidence,
            f"The warm-up takes {curve.warmup_steps} steps of a schedule made for {curve.length}: right after it the "
            "learning rate falls to its end",
            None,
            Severity.ERROR,
            _WARMUP,
            _shorter_warmup(evidence, curve, curve.length),
        )


def _whole_length(evidence: Evidence, total: int) -> Fix:
    return Fix(
        description=f"Make it as long as the job: {total}.", patch=put(config_of(evidence), _LENGTH, total)
    )


def _shorter_warmup(evidence: Evidence, curve: Schedule, total: int) -> Fix:
    """A warm-up of a tenth of the job, wherever it is given."""
    steps = max(1, total // _WARMUP_SHARE)
    patch: list[PatchOperation] = []
    if curve.source == "deepspeed:OneCycle":
        half = max(1, total // 2)
        return Fix(
            description=f"Let both halves of the cycle take {half} steps.",
            patch=[
                operation
                for name in ("cycle_first_step_size", "cycle_second_step_size")
                for operation in put(config_of(evidence), f"/scheduler/params/{name}", half)
            ],
        )
    given = (config_of(evidence).get("scheduler") or {}) if curve.source.startswith("deepspeed") else {}
    params = given.get("params") if isinstance(given, dict) else None
    if isinstance(params, dict) and params.get("warmup_num_steps") != "auto":
        patch += put(config_of(evidence), _WARMUP, steps)
    if not patch or (evidence.training or {}).get("warmup_steps"):
        patch.append(set_value(evidence, "/training/warmup_steps", steps))
    if (evidence.training or {}).get("warmup_ratio") and not patch[0].path.startswith("/deepspeed"):
        patch.append(PatchOperation(op="remove", path="/training/warmup_ratio"))
    return Fix(description=f"Warm up over {counted(steps, 'step')}, a tenth of the job.", patch=patch)


def _finding(
    evidence: Evidence, message: str, seen: Survey | None, severity: Severity, path: str, fix: Fix
) -> Finding:
    hangs = severity is Severity.ERROR and evidence.loop is None
    return Finding(
        message=f"{message} ({named(evidence)})." + (GIVE_THE_LOOP if hangs else "")
        if path.startswith("/scheduler")
        else f"{message}." + (GIVE_THE_LOOP if hangs else ""),
        severity=Severity.WARNING if hangs else severity,
        blocks_start=False,
        location=_location(evidence, path if path.startswith("/training") else "/deepspeed" + path),
        evidence={}
        if seen is None
        else {
            "total_steps": seen.total_steps,
            "highest": seen.highest,
            "highest_step": seen.highest_step,
            "last": seen.last,
            "num_zero_at_end": seen.num_zero_at_end,
        },
        fix=fix,
    )
