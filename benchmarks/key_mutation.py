"""Does the lint see a key that was changed by mistake? Every accepted public config, 20 random mistakes each.

    python -m benchmarks.key_mutation [--seed 5] [--per-config 20] [--configs FOLDER] [--output docs/key-mutation.md]

A mistake counts where the installed DeepSpeed then does, refuses or reads something else; the others are skipped
and counted by reason. It is found where the lint reports, on that key, a WARNING or an ERROR that it does not report
for the file as it is. A number as string has to be an ERROR exactly where DeepSpeed raises.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.deepspeed_verdict import Verdict, fill
from benchmarks.engine_verdict import EngineVerdict
from benchmarks.lint_agreement import CONFIGS
from benchmarks.mutations import BATCH, Kind, Mutation, mutate
from hotfire.dsconfig.batch_size import MICRO, TRAIN
from hotfire.dsconfig.positions import read_config
from hotfire.rules.engine import all_rules, judge
from hotfire.rules.evidence import Cluster, Evidence, Finding, Severity

AIM = 0.98
_RULES = tuple(rule for rule in all_rules() if rule.category == "config")
_WORLDS = (1, 2, 4, 8, 16, 32, 64, 3, 6, 12, 24, 48, 128, 256, 512)
_TRIES = 60
"""Draws for one wanted mistake."""

UNREAD = "DeepSpeed does not read the key, with or without the mistake"
KNOWN_THERE = "the other section has a key of that name"
CONSISTENT = "the batch numbers still multiply out"
NOT_FILLED = 'transformers fails before DeepSpeed sees the file ("auto")'


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One mistake that counts.

    Attributes:
        name: The file.
        mutation: The mistake.
        effect: "refuses", "does" or "reads" something else.
        raises: DeepSpeed raises; None: it cannot be told here.
        findings: What the lint newly reports on that key.
    """

    name: str
    mutation: Mutation
    effect: str
    raises: bool | None
    findings: tuple[Finding, ...]

    @property
    def found(self) -> bool:
        """At least a WARNING on that key, and for a number as string the right severity."""
        worst = {finding.severity for finding in self.findings}
        if self.mutation.kind is not Kind.TEXT or self.raises is None or not worst:
            return bool(worst)
        return (Severity.ERROR in worst) is self.raises


@dataclass(slots=True, kw_only=True)
class Result:
    """All of one run."""

    outcomes: list[Outcome] = field(default_factory=list)
    skipped: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    num_configs: int = 0
    refused: list[str] = field(default_factory=list)
    """Files that DeepSpeed refuses as they are."""
    short: list[tuple[str, int]] = field(default_factory=list)
    """Files too small for that many different mistakes, and how many there were."""
    clean: Counter[str] = field(default_factory=Counter)
    """Findings in the files as they are, by severity."""


def lint(config: dict[str, Any], world_size: int) -> list[Finding]:
    """What `hotfire lint FILE --num-gpus WORLD_SIZE` reports, at least a WARNING."""
    read = read_config(json.dumps(config, indent=2))
    spec = {
        "deepspeed": read.given,
        "training": {},
        "data": {},
        "model": {},
        "cluster": {"num_gpus": world_size},
    }
    evidence = Evidence(config=read, training={}, cluster=Cluster(num_gpus=world_size), spec=spec)
    findings = judge(evidence, rules=_RULES).findings
    return [f for f in findings if f.severity in (Severity.ERROR, Severity.WARNING)]


def run(
    configs: Iterable[tuple[str, dict[str, Any]]],
    *,
    seed: int,
    per_config: int,
    engine: EngineVerdict | None,
) -> Result:
    """Mutates every config.

    Args:
        configs: Name and content.
        seed: Of the mistakes; each file has a source of its own, so that one file more changes no other.
        per_config: Mistakes that count, of each file.
        engine: For values that are only checked in use; None: not asked.
    """
    result, verdict = Result(), Verdict()
    for name, config in configs:
        launched = not {TRAIN, MICRO} & set(config)
        original = _accepted(verdict, config, launched=launched)
        if original is None:
            result.refused.append(name)
            continue
        result.num_configs += 1
        job = _Job(name, config, original, launched, verdict, engine)
        result.clean.update(finding.severity.name for finding in job.before)
        source, seen, counted = random.Random(f"{seed} {name}"), set[str](), 0
        for _ in range(per_config * _TRIES):
            mutation = mutate(config, source)
            if mutation is None or (key := json.dumps(mutation.config)) in seen:
                continue
            seen.add(key)
            outcome = job.try_(mutation)
            if isinstance(outcome, str):
                result.skipped[mutation.kind, outcome] += 1
                continue
            result.outcomes.append(outcome)
            counted += 1
            if counted == per_config:
                break
        else:
            result.short.append((name, counted))
    return result


def _accepted(verdict: Verdict, config: dict[str, Any], *, launched: bool) -> dict[str, Any] | None:
    """The config filled in for the smallest world in which DeepSpeed accepts it; `verdict` then has that world."""
    for world in _WORLDS:
        verdict.world_size = world
        filled = fill(config, world, launched=launched)
        if verdict.accepts(filled):
            return filled
    return None


@dataclass(slots=True)
class _Job:
    """One file, and what DeepSpeed and the lint say of it as it is."""

    name: str
    config: dict[str, Any]
    original: dict[str, Any]
    launched: bool
    verdict: Verdict
    engine: EngineVerdict | None
    before: list[Finding] = field(init=False)
    _answer: tuple[str, Any] = field(init=False)
    _read: dict[str, bool] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.before = lint(self.config, self.verdict.world_size)
        self._answer = self.verdict.answer(self.original)

    def try_(self, mutation: Mutation) -> Outcome | str:
        """The outcome, or why the mistake does not count."""
        try:
            filled = fill(mutation.config, self.verdict.world_size, launched=self.launched)
        except Exception:  # noqa: BLE001 - transformers takes the shape of a config for granted
            return NOT_FILLED
        answer = self.verdict.answer(filled)
        refused = answer[0] == "refused"
        if mutation.kind is Kind.OFF_BY_ONE and not (refused and "Assertion" in str(answer[1])):
            return CONSISTENT
        if not refused and answer == self._answer and not self._reads(mutation.pointer):
            return UNREAD
        moved = mutation.kind is Kind.WRONG_SECTION
        if moved and not refused and self.verdict.reads(filled, mutation.new_pointer):
            return KNOWN_THERE
        raises: bool | None = refused
        if not refused and mutation.kind is Kind.TEXT:
            raises = self.engine.raises(self.original, mutation, filled) if self.engine is not None else None
        return Outcome(
            name=self.name,
            mutation=mutation,
            effect="refuses" if refused or raises else "does" if answer != self._answer else "reads",
            raises=raises,
            findings=self._new_findings(mutation),
        )

    def _reads(self, pointer: str) -> bool:
        if pointer not in self._read:
            self._read[pointer] = self.verdict.reads(self.original, pointer)
        return self._read[pointer]

    def _new_findings(self, mutation: Mutation) -> tuple[Finding, ...]:
        places = {mutation.pointer, mutation.new_pointer, *mutation.stage3_keys}
        if mutation.kind is Kind.OFF_BY_ONE:
            places |= {f"/{name}" for name in BATCH}
        known = {(f.rule, _path(f), f.message) for f in self.before}
        return tuple(
            finding
            for finding in lint(mutation.config, self.verdict.world_size)
            if places & _places(finding) and (finding.rule, _path(finding), finding.message) not in known
        )


def _places(finding: Finding) -> set[str]:
    """Its place, and the keys that it lists besides, where it reports several of one section as one."""
    section = _path(finding).rpartition("/")[0]
    return {_path(finding), *(f"{section}/{name}" for name in finding.evidence.get("keys", ()))}


def _path(finding: Finding) -> str:
    path = (finding.location.config_path if finding.location else None) or ""
    return path.removeprefix("/deepspeed")


def page(result: Result, *, seed: int, per_config: int, version: str) -> str:
    """The page of the docs."""
    outcomes = result.outcomes
    found = sum(o.found for o in outcomes)
    clean = ", ".join(f"{n} {name}" for name, n in sorted(result.clean.items())) or "nothing"
    method = (
        f"Made by `python -m benchmarks.key_mutation --seed {seed}`. {result.num_configs} public configs that "
        f"DeepSpeed {version} accepts, {per_config} random mistakes each, in the smallest world in which the file is "
        'accepted. What DeepSpeed makes of a file: the real `DeepSpeedConfig` after transformers filled in "auto", '
        "the real schedulers, the engine's own making of the optimizer, and for numbers that are only checked in use "
        "two steps of the real engine. A mistake counts where that changes. It is found where the lint newly reports "
        "at least a WARNING on that key; a number as string has to be an ERROR exactly where DeepSpeed raises."
    )
    untold = sum(o.mutation.kind is Kind.TEXT and o.raises is None for o in outcomes)
    summary = (
        f"**{found} of {len(outcomes)} found ({_share(found, len(outcomes))}; aim {AIM:.0%}).** "
        f"The files as they are: {clean}. Of {untold} numbers as string it could not be told here whether DeepSpeed "
        "raises: either severity counts."
    )
    lines = [
        "# Does the lint see a key that was changed by mistake?",
        "",
        method,
        "",
        summary,
        "",
        "| mistake | counted | refuses | does other | reads other | found | share |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in Kind:
        here = [o for o in outcomes if o.mutation.kind is kind]
        effects = Counter(o.effect for o in here)
        n = sum(o.found for o in here)
        lines.append(
            f"| {kind} | {len(here)} | {effects['refuses']} | {effects['does']} | {effects['reads']} | {n} | "
            f"{_share(n, len(here))} |"
        )
    lines += ["", "## Not found", ""]
    missed = [o for o in outcomes if not o.found]
    lines += (
        ["| mistake | key | DeepSpeed | lint | files |", "|---|---|---|---|---|"] if missed else ["None."]
    )
    rows = Counter((o.mutation.kind, o.mutation.what, o.effect, _said(o)) for o in missed)
    lines += [
        f"| {k} | `{what}` | {effect} | {said} | {n} |" for (k, what, effect, said), n in rows.most_common()
    ]
    lines += ["", "## Skipped", "", "| mistake | why it does not count | number |", "|---|---|---|"]
    lines += [f"| {kind} | {why} | {n} |" for (kind, why), n in sorted(result.skipped.items())]
    rest = f"{len(result.refused)} files are refused as they are and were left out."
    if result.short:
        rest += f" Fewer than {per_config} different mistakes: " + ", ".join(
            f"{name} ({number})" for name, number in result.short
        )
    lines += ["", rest]
    return "\n".join(lines) + "\n"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _said(outcome: Outcome) -> str:
    return ", ".join(f"{f.severity.name} {f.rule}" for f in outcome.findings if f.severity) or "nothing"


def read_configs(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Every config of the folder that can be read, by name."""
    read = [(p.name, read_config(p.read_text(encoding="utf-8")).given) for p in sorted(folder.glob("*.json"))]
    return [(name, given) for name, given in read if given is not None]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the page, or writes it; exit code 1 below the aim, 2 where there is nothing to mutate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--configs", type=Path, default=CONFIGS)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--per-config", type=int, default=20)
    parser.add_argument("--limit", type=int, help="only so many files, spread over the folder")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)
    configs = read_configs(arguments.configs) if arguments.configs.is_dir() else []
    if not configs:
        print(f"skipped: no configs in {arguments.configs}; give a folder with --configs", file=sys.stderr)
        return 2
    if arguments.limit:
        configs = configs[:: max(1, len(configs) // arguments.limit)]
    import deepspeed

    start = time.monotonic()
    result = run(configs, seed=arguments.seed, per_config=arguments.per_config, engine=EngineVerdict())
    text = page(result, seed=arguments.seed, per_config=arguments.per_config, version=deepspeed.__version__)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    else:
        print(text)
    found = sum(o.found for o in result.outcomes)
    print(f"{found} of {len(result.outcomes)} found in {time.monotonic() - start:.0f} s", file=sys.stderr)
    return 0 if result.outcomes and found >= AIM * len(result.outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
