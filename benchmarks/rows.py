"""`rows`: rows a second through template, tokenizer, mask, measures and data rules, against the tokenizer alone.

The tokenizer alone is its own batch call on the rendered texts of the very same rows, in the same process; both
take turns. Judging tokenises in a thread beside the others, which takes two cores where they are free: the ratio of CPU
seconds tells what it costs. Peak memory is that of a process of its own that judges one large sample.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bed import EXAMPLES, BenchError
from benchmarks.figures import alternate, heading, spread, table
from hotfire.rules.data import DATA_RULES
from hotfire.rules.engine import judge
from hotfire.rules.evidence import DataEvidence, Evidence, PrepareRequest

_NUM_ROWS, _NUM_ROWS_QUICK = 200_000, 5_000
_ROUND_ROWS, _ROUND_ROWS_QUICK = 10_000, 1_000
_ROUNDS = 7
_BATCH_ROWS = 1000
_TRAINING = {"assistant_only_loss": True, "max_length": 1024}
_TEXT = (
    "the sea is wide and blue nobody knows how deep it was until a ship came back from its long journey with "
    "charts of every coast and a list of winds for each month while others stayed at home to write letters about "
    "trade weather prices children and what they had read in the evening by the light of one lamp"
)
_WORDS = _TEXT.split()


def main(*, quick: bool) -> None:
    """Measures and prints.

    Raises:
        BenchError: There is no tokenizer, or a row was not judged.
    """
    heading(
        "rows: judging chat rows against the tokenizer's own batch call, SmolLM2's tokenizer and template"
    )
    tokenizer = _tokenizer()
    with tempfile.TemporaryDirectory(prefix="hotfire-bench-") as folder:
        path = Path(folder, "rows.jsonl")
        num_rows = _ROUND_ROWS_QUICK if quick else _ROUND_ROWS
        texts = [
            tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in _write(path, num_rows)
        ]
        seconds: dict[str, list[float]] = {"bare": [], "judged": []}
        cpu_seconds: dict[str, list[float]] = {"bare": [], "judged": []}
        _judge(tokenizer, path, num_rows)  # what is loaded and cached once is no row's cost
        for _, name in alternate(("bare", "judged"), range(1 if quick else _ROUNDS)):
            began, cpu_began = time.perf_counter(), time.process_time()
            if name == "bare":
                _tokenise(tokenizer, texts)
            else:
                _judge(tokenizer, path, num_rows)
            seconds[name].append(time.perf_counter() - began)
            cpu_seconds[name].append(time.process_time() - cpu_began)
        lines = [
            (
                what,
                f"{num_rows:,}",
                spread(seconds[name]),
                f"{num_rows / statistics.median(seconds[name]):,.0f}",
            )
            for name, what in (("bare", "tokenizer(texts)"), ("judged", "read, rendered, tokenised, judged"))
        ]
        table(("", "rows", "seconds", "rows/s"), lines)
        print(
            f"   ratio of one round: {spread(_ratios(seconds))} (aim 0.5 or more); of CPU seconds: "
            f"{spread(_ratios(cpu_seconds))}",
            flush=True,
        )
        _print_peak(path, _NUM_ROWS_QUICK if quick else _NUM_ROWS)


def _ratios(seconds: dict[str, list[float]]) -> list[float]:
    return [bare / judged for bare, judged in zip(seconds["bare"], seconds["judged"], strict=True)]


def _print_peak(path: Path, num_rows: int) -> None:
    for _ in _write(path, num_rows):
        pass
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rows", str(path), str(num_rows)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BenchError(f"the process for the large sample failed: {done.stderr.strip()[-300:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    print(
        f"   one sample of {num_rows:,} rows ({path.stat().st_size / 2**20:.0f} MiB): "
        f"{found['num_rows_usable']:,} tokenised in {found['seconds']:.0f} s, peak {found['peak_mib']:.0f} MiB, of "
        f"which {found['before_mib']:.0f} MiB before the first row",
        flush=True,
    )


def _write(path: Path, num_rows: int) -> Iterator[dict[str, Any]]:
    """Writes rows, each another, and yields them."""
    chosen = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(num_rows):
            turns = [chosen.choices(_WORDS, k=chosen.randint(5, 60)) for _ in range(2)]
            row = {
                "messages": [
                    {"role": "user", "content": f"{number}. {' '.join(turns[0])}?"},
                    {"role": "assistant", "content": f"{' '.join(turns[1])}."},
                ]
            }
            file.write(json.dumps(row) + "\n")
            yield row


def _tokenizer() -> Any:
    from hotfire_workers.train.errors import UnreadableModelError
    from hotfire_workers.train.folder import open_folder
    from hotfire_workers.train.tokens import read_tokenizer

    folder = EXAMPLES / "smollm2-real" / "model"
    try:
        return read_tokenizer(open_folder({"path": str(folder)}))
    except UnreadableModelError as error:
        raise BenchError(f"{error} (`make venv` puts the model of examples/smollm2-real there)") from error


def _tokenise(tokenizer: Any, texts: list[str]) -> None:
    for start in range(0, len(texts), _BATCH_ROWS):
        tokenizer(texts[start : start + _BATCH_ROWS], add_special_tokens=False)


def _judge(tokenizer: Any, path: Path, num_rows: int) -> DataEvidence:
    from hotfire_workers.train.rows import TokenFacts, prepare_sample
    from hotfire_workers.train.tokens import end_token_ids

    stop_ids = [tokenizer.eos_token_id]
    request = PrepareRequest(
        out_dir="", model={}, data={"path": str(path)}, training=_TRAINING, time_limit_s=3600.0
    )
    facts = TokenFacts(tokenizer=tokenizer, stop_ids=stop_ids, end_ids=end_token_ids(tokenizer, stop_ids))
    data = prepare_sample(request, facts).evidence
    spec = {"deepspeed": {}, "training": _TRAINING, "data": {}, "model": {}, "cluster": {}}
    judge(Evidence(training=_TRAINING, data=data, spec=spec), rules=list(DATA_RULES))
    if data.num_rows_read != num_rows or data.rejected:
        raise BenchError(f"{data.num_rows_read} of {num_rows} rows were read, {len(data.rejected)} rejected")
    return data


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _child(path: str, num_rows: int) -> None:
    tokenizer = _tokenizer()
    before = _peak_mib()
    began = time.perf_counter()
    data = _judge(tokenizer, Path(path), num_rows)
    found = {
        "seconds": time.perf_counter() - began,
        "num_rows_usable": data.num_rows_usable,
        "before_mib": before,
        "peak_mib": _peak_mib(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    _child(sys.argv[1], int(sys.argv[2]))
