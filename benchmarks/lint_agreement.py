"""The lint against the real DeepSpeed: what `DeepSpeedConfig` answered for real configs in many versions.

    python -m benchmarks.lint_agreement [--configs FOLDER] [--output docs/lint-agreement.md]

The folder holds configs and a `truth.tsv`: file, verdict by version (such as
"0.14.5..0.17.0=OK 0.17.1..0.19.8=ValidationError"), last message. A bare file is linted, as
`hotfire lint FILE --deepspeed-version X` does.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hotfire.dsconfig.positions import read_config
from hotfire.dsconfig.versions import parse
from hotfire.rules.engine import all_rules, judge
from hotfire.rules.evidence import Cluster, Evidence, Finding, Severity

CONFIGS = Path(__file__).resolve().parents[1].parent / "shared" / "ds_configs"
VERSIONS = (
    "0.14.5", "0.15.0", "0.15.4", "0.16.0", "0.16.4", "0.16.5", "0.16.6", "0.17.0", "0.17.1", "0.17.4", "0.17.5",
    "0.17.6", "0.18.0", "0.18.2", "0.18.3", "0.18.5", "0.18.8", "0.18.9", "0.19.0", "0.19.2", "0.19.3", "0.19.6",
    "0.19.8",
)  # fmt: skip
"""Both sides of every change that `truth.tsv` shows, and some between."""
EXPLAINED: dict[tuple[str, str], str] = {}
"""(file, version) -> why lint and DeepSpeed rightly disagree."""
_IGNORED = ("C102", "C103")
_RULES = tuple(rule for rule in all_rules() if rule.category == "config")


@dataclass(frozen=True, slots=True)
class Row:
    """One config, and what DeepSpeed said."""

    name: str
    spans: tuple[tuple[str, str, str], ...]
    """(first version, last version, verdict)."""
    message: str

    def verdict(self, version: str) -> str:
        """One of OK, NOTJSON or the name of the exception."""
        at = parse(version)
        return next(v for first, last, v in self.spans if parse(first) <= at <= parse(last))


@dataclass(slots=True)
class Outcome:
    """One config under one version."""

    row: Row
    version: str
    errors: list[Finding] = field(default_factory=list)
    others: list[Finding] = field(default_factory=list)

    @property
    def refused(self) -> bool:
        """DeepSpeed refuses the file."""
        return self.row.verdict(self.version) != "OK"

    @property
    def agrees(self) -> bool:
        """An ERROR exactly where DeepSpeed refuses."""
        return bool(self.errors) is self.refused

    @property
    def names_the_key(self) -> bool:
        """One of the errors is at a key that DeepSpeed's message names (asked of the newest refusal only)."""
        keys = [(e.location.config_path or "").rpartition("/")[2] for e in self.errors if e.location]
        return any(key and key.lower() in self.row.message.lower() for key in keys)


def read_truth(folder: Path) -> list[Row]:
    """The rows of `truth.tsv`."""
    with (folder / "truth.tsv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t"))[1:]
    return [Row(name, tuple(_spans(verdicts)), message) for name, verdicts, message in rows]


def _spans(text: str) -> Iterator[tuple[str, str, str]]:
    for part in text.split():
        versions, _, verdict = part.partition("=")
        first, _, last = versions.partition("..")
        yield first, last or first, verdict


def lint(text: str, version: str) -> list[Finding]:
    """The findings of a bare file."""
    config = read_config(text)
    versions = {"deepspeed": version}
    spec = {
        "deepspeed": config.given,
        "training": {},
        "data": {},
        "model": {},
        "cluster": {"versions": versions},
    }
    evidence = Evidence(config=config, training={}, cluster=Cluster(versions=versions), spec=spec)
    return judge(evidence, rules=_RULES).findings


def compare(folder: Path, versions: tuple[str, ...] = VERSIONS) -> list[Outcome]:
    """Every config under every version."""
    outcomes = []
    for row in read_truth(folder):
        text = (folder / row.name).read_text(encoding="utf-8")
        for version in versions:
            found = lint(text, version)
            errors = [f for f in found if f.severity is Severity.ERROR]
            outcomes.append(
                Outcome(row, version, errors, [f for f in found if f.severity is not Severity.ERROR])
            )
    return outcomes


def page(outcomes: list[Outcome], seconds: float) -> str:
    """The page of the docs."""
    agreed = sum(o.agrees for o in outcomes)
    method = (
        "Made by `python -m benchmarks.lint_agreement`. Each config is linted as a bare file; it agrees where the lint "
        "reports an ERROR exactly if the real `DeepSpeedConfig` of that version refuses the file (HF `auto` filled in, "
        "one rank, CPU)."
    )
    result = (
        f"{agreed} of {len(outcomes)} verdicts agree ({100 * agreed / len(outcomes):.2f} %), "
        f"{1000 * seconds / len(outcomes):.1f} ms each."
    )
    lines = [
        "# Does the lint agree with DeepSpeed?",
        "",
        method,
        "",
        result,
        "",
        "| DeepSpeed | files | accepted | refused | false errors | missed |",
        "|---|---|---|---|---|---|",
    ]
    for version in dict.fromkeys(o.version for o in outcomes):
        here = [o for o in outcomes if o.version == version]
        wrong = [o for o in here if not o.agrees]
        refused = sum(o.refused for o in here)
        missed = sum(o.refused for o in wrong)
        lines.append(
            f"| {version} | {len(here)} | {len(here) - refused} | {refused} | {len(wrong) - missed} | {missed} |"
        )
    lines += ["", "## Disagreements", ""]
    wrong = [o for o in outcomes if not o.agrees]
    lines += ["| file | DeepSpeed | says | lint | why |", "|---|---|---|---|---|"] if wrong else ["None."]
    for o in wrong:
        why = EXPLAINED.get((o.row.name, o.version), "not explained")
        said = ", ".join(e.rule for e in o.errors) or "nothing"
        lines.append(f"| {o.row.name} | {o.version} | {o.row.verdict(o.version)} | {said} | {why} |")
    newest = outcomes[-1].version
    lines += ["", f"## Refused, and the key that the lint names ({newest})", ""]
    lines += ["| file | rule | key |", "|---|---|---|"]
    for o in outcomes:
        if o.version == newest and o.refused:
            lines += [f"| {o.row.name} | {e.rule} | {_path(e)} |" for e in o.errors]
    lines += [
        "",
        f"## Accepted, and silently without effect ({newest})",
        "",
        "| file | rule | what |",
        "|---|---|---|",
    ]
    for o in outcomes:
        if o.version == newest:
            lines += [f"| {o.row.name} | {f.rule} | {f.message} |" for f in o.others if f.rule_id in _IGNORED]
    return "\n".join(lines) + "\n"


def _path(finding: Finding) -> str:
    return (finding.location.config_path if finding.location else None) or ""


def main() -> int:
    """Prints the page, or writes it; exit code 1 where something is not explained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--configs", type=Path, default=CONFIGS)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if not (arguments.configs / "truth.tsv").is_file():
        print(f"no truth.tsv in {arguments.configs}: give the folder with --configs", file=sys.stderr)
        return 2
    start = time.perf_counter()
    outcomes = compare(arguments.configs)
    text = page(outcomes, time.perf_counter() - start)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    else:
        print(text)
    wrong = [o for o in outcomes if not o.agrees]
    counts = Counter((o.row.name, o.version) in EXPLAINED for o in wrong)
    print(
        f"{len(outcomes)} verdicts, {len(wrong)} disagreements, {counts[False]} not explained",
        file=sys.stderr,
    )
    return 1 if counts[False] else 0


if __name__ == "__main__":
    sys.exit(main())
