"""Runs every case of tests/zero_cases with real trials and writes the table of docs/zero-verdict.md.

python -m tests.zero_cases [NAME ...]     # with names: only those, and nothing is written
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from google.protobuf import struct_pb2
from tests.zero_cases.bed import make_bed
from tests.zero_cases.running import Case, Outcome, find_cases, problems, run_case, warm_bench

from hotfire import wire
from hotfire_workers.train.imports import default_cache_dir

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "zero-verdict.md"
_BEGIN, _END = "<!-- table: begin -->", "<!-- table: end -->"
_HEAD = (
    "| case | what is wrong | guilty | keys | verified patch | trials | of them for the search | seconds "
    "| as expected |"
)


def main() -> int:
    """The command line."""
    wanted = sys.argv[1:]
    cases = [case for case in find_cases(make_bed()) if not wanted or case.name in wanted]
    lines, num_wrong = [_HEAD, "|---" * 9 + "|"], 0
    with warm_bench(Path(default_cache_dir())) as (runner, settings):
        for case in cases:
            outcome = run_case(case, runner, settings)
            wrong = problems(case, outcome)
            num_wrong += bool(wrong)
            lines.append(_line(case, outcome, is_right=not wrong))
            print(lines[-1], flush=True)
            for text in wrong:
                print(f"  WRONG: {text}", flush=True)
    if not wanted:
        page = _PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(_BEGIN)
        _, _, after = rest.partition(_END)
        table = "\n".join(lines)
        _PAGE.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", encoding="utf-8")
    return 1 if num_wrong else 0


def _line(case: Case, outcome: Outcome, *, is_right: bool) -> str:
    zero = outcome.report.zero
    keys = ", ".join(f"`{key.removeprefix('/deepspeed/')}`" for key in zero.guilty_keys)
    patch = ", ".join(_operation(*operation) for operation in outcome.patch)
    return (
        f"| {case.name} | {case.what} | {outcome.guilty} | {keys} | {patch} | {len(outcome.report.trials)} | "
        f"{zero.search.num_trials if zero.HasField('search') else ''} | {outcome.seconds:.1f} | "
        f"{'yes' if is_right else '**no**'} |"
    )


def _operation(op: str, path: str, value: struct_pb2.Value) -> str:
    name = path.removeprefix("/deepspeed/")
    return f"remove `{name}`" if op == "remove" else f"`{name}` = {json.dumps(wire.value_to_python(value))}"


if __name__ == "__main__":
    sys.exit(main())
