"""Logs of jobs as they are found: whole, cut, interleaved, compressed."""

import gzip
import json
import math

import pytest

from hotfire import logs
from hotfire.errors import SettingsError


def write(folder, text, name="train.log"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def record(loss=2.0, norm=0.5, rate=1e-4, epoch=0.1, **more):
    values = {"loss": loss, "grad_norm": norm, "learning_rate": rate, "epoch": epoch} | more
    return "{" + ", ".join(f"'{k}': {v}" for k, v in values.items() if v is not None) + "}"


def read_text(tmp_path, text):
    return logs.read(write(tmp_path, text))


def test_trainer_state(tmp_path):
    state = {
        "global_step": 30,
        "max_steps": 100,
        "log_history": [
            {"epoch": 0.1, "loss": 2.5, "grad_norm": 1.0, "learning_rate": 1e-4, "step": 10},
            {"epoch": 0.1, "eval_loss": float("nan"), "step": 10},
            {"epoch": 0.2, "loss": 0.0, "grad_norm": float("nan"), "learning_rate": 9e-5, "step": 20},
            {"train_runtime": 12.0, "train_loss": 1.2, "step": 30},
        ],
    }
    log = logs.read(write(tmp_path, json.dumps(state), "trainer_state.json"))
    assert (log.format, log.finished, log.max_steps) == ("trainer_state", True, 100)
    assert [entry.step for entry in log.entries] == [10, 20]
    assert math.isnan(log.entries[1].grad_norm)
    assert log.num_eval_non_finite == 1
    # Its folder is enough, and so is the folder above a checkpoint.
    assert logs.read(tmp_path).entries == log.entries
    (tmp_path / "run" / "checkpoint-9").mkdir(parents=True)
    (tmp_path / "run" / "checkpoint-30").mkdir()
    write(tmp_path / "run" / "checkpoint-9", json.dumps({"log_history": []}), "trainer_state.json")
    write(tmp_path / "run" / "checkpoint-30", json.dumps(state), "trainer_state.json")
    assert logs.read(tmp_path / "run").global_step == 30


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 1e-05, 'epoch': 0.01}", (0.0, math.nan, 1e-5)),
        ("{'loss': '2.31', 'grad_norm': '0.4', 'learning_rate': '5e-05', 'epoch': '0.1'}", (2.31, 0.4, 5e-5)),
        ("{'loss': nan, 'grad_norm': inf, 'learning_rate': 0, 'epoch': 0.01}", (math.nan, math.inf, 0.0)),
        (
            "{'loss': tensor(1.5, device='cuda:0'), 'grad_norm': np.float64(2.0), 'learning_rate': 1e-3, 'epoch': 1}",
            (1.5, 2.0, 1e-3),
        ),
        ('{"current_steps": 10, "total_steps": 120, "loss": 1.25, "lr": 2e-05, "epoch": 0.1}', (1.25, None, 2e-5)),
        ('{"loss": NaN, "grad_norm": Infinity, "learning_rate": 1e-5, "step": 3}', (math.nan, math.inf, 1e-5)),
        ("[INFO] callbacks.py:143 >> {'loss': 1.0, 'learning_rate': 1e-4, 'epoch': 0.1}", (1.0, None, 1e-4)),
    ],
)  # fmt: skip
def test_one_line_of_each_kind(tmp_path, printed, expected):
    (entry,) = read_text(tmp_path, printed + "\n").entries
    found = (entry.loss, entry.grad_norm, entry.learning_rate)
    assert [str(v) for v in found] == [str(v) for v in expected]


def test_what_is_no_entry(tmp_path):
    text = (
        record()
        + "\n{'eval_loss': 1.0, 'epoch': 1}\n{'train_runtime': 9.1, 'train_loss': 1.0, 'epoch': 1.0}\n"
    )
    log = read_text(tmp_path, text + "config = {'loss': 'cross_entropy', 'epoch': 3}\n{'loss': 3.0}\n")
    assert len(log.entries) == 1
    assert log.finished


def test_llamafactory_and_ms_swift_say_which_step(tmp_path):
    lines = [
        json.dumps({"current_steps": n, "total_steps": 50, "loss": 1.0 / n, "lr": 1e-5}) for n in (5, 10)
    ]
    log = logs.read(write(tmp_path, "\n".join(lines), "trainer_log.jsonl"))
    assert (log.format, log.max_steps, [e.step for e in log.entries]) == ("jsonl", 50, [5, 10])
    swift = '{"loss": 2.4, "grad_norm": 1.1, "learning_rate": 1e-05, "global_step/max_steps": "1/873"}\n'
    log = logs.read(write(tmp_path, swift, "logging.jsonl"))
    assert (log.max_steps, log.entries[0].step) == (873, 1)


def test_progress_bars_are_carriage_returns(tmp_path):
    def bar(done):
        return f"\r  {done}%|█         | {done}/100 [00:0{done}<01:00,  1.2it/s]"

    text = "".join(bar(n) + bar(n) + "\r\n" + record(epoch=n / 10) + "\n" for n in (2, 4, 6))
    log = read_text(tmp_path, text)
    assert [e.step for e in log.entries] == [2, 4, 6]
    assert log.max_steps == 100
    # A bar that does not move tells nothing.
    text = "".join(bar(2) + "\n" + record(epoch=n / 10) + "\n" for n in (2, 4, 6))
    assert [e.step for e in read_text(tmp_path, text).entries] == [None, None, None]


def test_a_line_that_is_printed_twice_counts_once(tmp_path):
    twice = "".join(
        record(loss=3 - n, epoch=n / 10)
        + "\n"
        + f"[INFO] >> {{'loss': {3 - n}, 'learning_rate': 0.0001, 'epoch': {n / 10}}}\n"
        for n in range(3)
    )
    entries = read_text(tmp_path, twice).entries
    assert [(e.loss, e.grad_norm) for e in entries] == [(3.0, 0.5), (2.0, 0.5), (1.0, 0.5)]
    nan = "".join(record(loss="nan", norm="nan", epoch=n / 10) + "\n" for n in (1, 1, 2, 2))
    assert len(read_text(tmp_path, nan).entries) == 2


@pytest.mark.parametrize("prefix", ["[rank{}]: ", "[default{0}]:[rank{0}]: ", "[1,{}]<stdout>: ", "{}: "])
def test_ranks_in_between(tmp_path, prefix):
    lines = []
    for n in range(4):
        for rank in (1, 0):
            loss = "nan" if (rank, n) == (1, 2) else 2.0 + rank
            lines.append(prefix.format(rank) + record(loss=loss, epoch=n / 10))
    log = read_text(tmp_path, "\n".join(lines))
    # Rank 0 is judged, but no rank's NaN is lost.
    assert [str(e.loss) for e in log.entries] == ["2.0", "2.0", "nan", "2.0"]
    assert "2 ranks" in log.notes[0]


def test_records_that_ranks_wrote_into_each_other(tmp_path):
    text = "{'loss': 9.0, 'grad_no" + record(loss=1.0, epoch=0.1) + record(loss=1.5, epoch=0.2) + "\n"
    assert [e.loss for e in read_text(tmp_path, text).entries] == [1.0, 1.5]


def test_the_last_run_of_several_is_judged(tmp_path):
    first = [record(loss=5, epoch=n / 10) for n in (1, 2, 3)]
    second = [record(loss=2, epoch=n / 10) for n in (1, 2)]
    log = read_text(tmp_path, "\n".join(first + second))
    assert [e.loss for e in log.entries] == [2.0, 2.0]
    assert "2 runs" in log.notes[0]


def test_overflows_make_skipped_steps(tmp_path):
    def overflow(scale, rank=0):
        return (
            f"[2026-01-01 10:00:00,000] [INFO] [loss_scaler.py:190:update_scale] [deepspeed] OVERFLOW! Rank {rank} "
            f"Skipping step. Attempted loss scale: {scale}, reducing to {scale // 2}\n"
        )

    # Two ranks tell of the same step.
    text = overflow(65536) + overflow(65536, rank=1) + record(norm=0.0, rate=0, epoch=0.01) + "\n"
    text += (
        overflow(32768) + record(norm=0.0, rate=0, epoch=0.02) + "\n" + record(rate=1e-5, epoch=0.03) + "\n"
    )
    log = read_text(tmp_path, text)
    assert log.num_overflows == 2
    trial = logs.as_trial(log)
    assert [s.applied for s in trial.steps] == [False, False, None]
    assert [s.loss_scale for s in trial.steps] == [65536, 32768, None]
    assert trial.dtype == "fp16"
    # Ten steps an entry, two of them skipped: the entry's own step is not known to be one of them.
    text = overflow(65536) + overflow(32768) + record(step=10) + "\n" + record(step=20, epoch=0.2) + "\n"
    assert [s.applied for s in logs.as_trial(read_text(tmp_path, text)).steps] == [None, None]
    # A job that died before its first entry.
    only = logs.as_trial(read_text(tmp_path, overflow(4) + overflow(2) + overflow(1)))
    assert [(s.step, s.applied, s.loss_scale) for s in only.steps] == [
        (1, False, 4),
        (2, False, 2),
        (3, False, 1),
    ]


def test_deepspeeds_own_reports(tmp_path):
    text = "[INFO] [logging.py:96:log_dist] [Rank 0] step={}, skipped={}, lr=[0.0], mom=[[0.9, 0.999]]\n"
    trial = logs.as_trial(read_text(tmp_path, text.format(10, 10) + text.format(20, 20)))
    assert [(s.step, s.applied, s.learning_rate) for s in trial.steps] == [(10, False, 0.0), (20, False, 0.0)]
    trial = logs.as_trial(read_text(tmp_path, text.format(10, 3) + text.format(20, 3)))
    assert [s.applied for s in trial.steps] == [None, None]


def test_versions_that_the_job_printed(tmp_path):
    text = "[Rank 0] DeepSpeed info: version=0.14.2, git-hash=unknown\n" + record() + "\n"
    assert read_text(tmp_path, text).versions == {"deepspeed": "0.14.2"}


def test_the_first_failure_is_the_cause_and_the_launcher_no_failure(tmp_path):
    text = (
        record()
        + """
[rank1]: Traceback (most recent call last):
[rank1]:   File "train.py", line 3, in <module>
[rank1]:     loss.backward()
[rank1]: torch.distributed.DistBackendError: NCCL error: remote process exited or there was a network error
[rank0]: Traceback (most recent call last):
[rank0]:   File "train.py", line 3, in <module>
[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
Traceback (most recent call last):
  File "torchrun", line 8, in <module>
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
  exitcode  : 1 (pid: 12)
"""
    )
    error = read_text(tmp_path, text).error
    assert (error.type, error.rank) == ("OutOfMemoryError", 0)


@pytest.mark.parametrize(
    ("line", "kind", "signal"),
    [
        (("[E ProcessGroupNCCL.cpp:563] [Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=9, "
         "OpType=_ALLGATHER_BASE, Timeout(ms)=1800000) ran for 1800010 milliseconds"), "Hung", None),
        ("[ERROR] [launch.py:321:sigkill_handler] exits with return code = -9", "Killed", "SIGKILL"),
        ("  traceback : Signal 11 (SIGSEGV) received by PID 77", "Killed", "SIGSEGV"),
    ],
)  # fmt: skip
def test_ends_without_a_traceback(tmp_path, line, kind, signal):
    error = read_text(tmp_path, record() + "\n" + line + "\n").error
    assert (error.type, error.signal) == (kind, signal)


def test_compressed(tmp_path):
    path = write(tmp_path, gzip.compress((record() + "\n").encode()), "train.log.gz")
    assert len(logs.read(path).entries) == 1


def test_bytes_that_are_no_text_are_no_reason_to_give_up(tmp_path):
    assert len(logs.read(write(tmp_path, b"caf\xe9\n" + record().encode() + b"\n")).entries) == 1


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"", "a.log", "no line of it is the log of a training"),
        (b"hello\nworld\n", "a.log", "trainer_state.json"),
        (b"\x00\x01\x02", "a.bin", "binary"),
        # No time of day in it: the workers of pytest-xdist must collect the same names.
        (gzip.compress(b"x" * 100, mtime=0)[:20], "a.gz", "cannot read"),
        (b'{"log_history": [{"loss": 1.0', "trainer_state.json", "breaks off"),
        (b'{"log_history": 3}', "trainer_state.json", "must be a list"),
    ],
)
def test_unreadable(tmp_path, content, name, says):
    with pytest.raises(SettingsError, match=says):
        logs.read(write(tmp_path, content, name))


def test_absent(tmp_path):
    with pytest.raises(SettingsError, match="there is no file"):
        logs.read(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="has none of"):
        logs.read(tmp_path / "empty")


def test_a_long_log_takes_little_memory(tmp_path):
    """100,000 lines once took 9 GB: every window of the curve was copied. And a file is not read in one piece."""
    import tracemalloc

    import hotfire

    lines = [record(loss=2.5 - n / 100_000, epoch=n / 1000) for n in range(20_000)]
    path = write(tmp_path, "\n".join(lines))
    tracemalloc.start()
    try:
        found = hotfire.diagnose(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.log.entries) == 20_000
    assert peak < 100 * 2**20
