"""Makes an environment ready for trials: `python -m hotfire_workers.train.setup`. Quick when done already.

Two things, once per environment: DeepSpeed's communication op is compiled into the extension folder (30 to 60
s; ranks would do it one by one, waiting for each other), and a few tiny trials run to learn what ranks still
import, so that the warm process imports it for them.

`--ops all` also builds fused_adam and cpu_adam (2 to 4 minutes each); without them trials use torch's AdamW.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from hotfire_workers.train import extensions, imports, launch, libraries, processes
from hotfire_workers.train.imports import Environment

COMM_OPS = ("ShareMemCommBuilder",)
ADAM_OPS = ("FusedAdamBuilder", "CPUAdamBuilder")
_TRIAL_S = 180.0


def _say(text: str) -> None:
    print(text, flush=True)


def check_locks(environment: Environment, *, unlock: bool) -> list[str]:
    """Deal with locks that killed builds left behind in the extension folder.

    Args:
        environment: Its folder is searched.
        unlock: Remove them also where the folder is not ours alone.

    Returns:
        One message for each lock that is still there.
    """
    left = []
    for lock in extensions.stale_locks(environment.extensions):
        if unlock or environment.owns_extensions:
            lock.unlink(missing_ok=True)
            _say(f"removed {lock}, left by a build that was killed")
        else:
            left.append(f"{extensions.lock_message(lock)} (or run this again with --unlock)")
    return left


def build(environment: Environment, builders: tuple[str, ...]) -> dict[str, str | None]:
    """Compile DeepSpeed's ops, those that are not there yet.

    Returns:
        Op name -> None, or why it could not be built.
    """
    from deepspeed.accelerator import get_accelerator

    built: dict[str, str | None] = {}
    for name in builders:
        builder = get_accelerator().create_op_builder(name)
        if builder is None:
            built[name] = "this accelerator has no such op"
            continue
        if extensions.is_built(environment.extensions, builder.name):
            built[builder.name] = None
            continue
        started = time.monotonic()
        try:
            builder.load(verbose=False)
            built[builder.name] = None
            _say(f"built {builder.name} in {time.monotonic() - started:.0f} s")
        except Exception as error:  # noqa: BLE001  a missing compiler is the usual one, and no reason to stop
            built[builder.name] = f"{type(error).__name__}: {error}"
            _say(f"could not build {builder.name}: {error}")
    return built


def build_apart(environment: Environment, builders: tuple[str, ...]) -> dict[str, str | None]:
    """`build`; for an accelerator in a process of its own.

    A builder asks the GPU for its architecture, and a process with a CUDA context cannot fork the rehearsals.
    """
    if not builders or os.environ.get("DS_ACCELERATOR", "cpu") == "cpu":
        return build(environment, builders)
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(build, environment, builders).result()


def learn_imports(environment: Environment) -> list[str]:
    """Run tiny trials, one for each way ranks take, and add what they imported to the environment's list.

    Returns:
        What failed, one text each.
    """
    from hotfire_workers.train import specimen

    failures = []
    found: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="hotfire-setup-") as folder:
        for name, kind, request in specimen.requests(Path(folder)):
            os.environ[launch.REPORT_IMPORTS] = str(Path(folder, "imports", name))
            problem = _run(kind, request, Path(folder, f"{name}.json"))
            del os.environ[launch.REPORT_IMPORTS]
            if problem is not None:
                failures.append(f"{name}: {problem}")
        for report in Path(folder, "imports").glob("*/*.json"):
            found.update(json.loads(report.read_text()))
    environment.learn({name for name in found if not name.startswith(("__", "transformers_modules"))})
    return failures


def _run(kind: str, request: dict[str, Any], path: Path) -> str | None:
    """One request in a forked child, as the warm process does it. Returns what went wrong."""
    from hotfire_workers.train import rankguard, serve

    path.write_text(json.dumps(request))
    started = time.monotonic()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            processes.die_with_parent(parent)
            os.setsid()
            rankguard.default_signals()
            status = serve.do(kind, str(path))
        except BaseException:  # noqa: BLE001  nothing may unwind into the parent's code
            traceback.print_exc()
        finally:
            os._exit(status)
    ended = _wait(pid)
    processes.kill_descendants()
    if ended is None:
        return f"not finished after {_TRIAL_S:g} s"
    if ended != 0:
        return _last_words(Path(request.get("run_dir") or request["out_dir"]))
    _say(f"rehearsed {path.stem} in {time.monotonic() - started:.1f} s")
    return None


def _wait(pid: int) -> int | None:
    deadline = time.monotonic() + _TRIAL_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    return None


def _last_words(folder: Path) -> str:
    """The first error that a child left in its folder."""
    for file in [folder / "error.json", *sorted(folder.glob("events/*.jsonl")), folder / "agent.json"]:
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                event = json.loads(line)
                if event.get("ev") == "error":
                    return f"{event.get('type')}: {event.get('text')}"
                if failure := event.get("first_failure") or event.get("error"):
                    return str(failure["message"] if isinstance(failure, dict) else failure)
    for log in (folder / "prepare.log", folder / "agent.log"):
        with contextlib.suppress(OSError, IndexError):
            return log.read_text().strip().splitlines()[-1]
    return "failed without a word"


def _is_done(environment: Environment, ops: str) -> bool:
    """A setup with these ops ran to its end and what it made is still there."""
    try:
        record = json.loads(_record_file(environment).read_text())
    except (OSError, ValueError):
        return False
    return (
        record.get("extensions") == str(environment.extensions)
        and (ops != "all" or record.get("ops") == "all")
        and environment.imports_file.exists()
        and all(
            error is not None or extensions.is_built(environment.extensions, op)
            for op, error in record.get("built", {}).items()
        )
    )


def _record_file(environment: Environment) -> Path:
    return environment.folder / "setup.json"


def run(cache_dir: str | None, *, ops: str = "comm", force: bool = False, unlock: bool = False) -> int:
    """Set the environment up.

    Args:
        cache_dir: Root of the cache; None: the default.
        ops: "comm", "all" or "none".
        force: Also if it was done before.
        unlock: Remove stale locks from an extension folder that is not ours alone.

    Returns:
        0; 1 when a stale lock stands in the way.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if Path("/dev/nvidia0").exists() else "cpu")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    environment = Environment.current(cache_dir)
    environment.apply()
    if locks := check_locks(environment, unlock=unlock):
        for message in locks:
            _say(message)
        return 1
    if not force and _is_done(environment, ops):
        _say(f"environment {environment.key} is set up ({environment.folder})")
        return 0
    builders = {"comm": COMM_OPS, "all": COMM_OPS + ADAM_OPS, "none": ()}[ops]
    if os.environ["DS_ACCELERATOR"] != "cpu":
        builders = tuple(name for name in builders if name not in COMM_OPS)  # NCCL has no use for it
    processes.become_subreaper()
    imports.import_all(imports.BASE, required=True)
    built = build_apart(environment, builders)
    imports.import_everything(environment)
    failures = learn_imports(environment)
    for failure in failures:
        _say(f"rehearsal failed: {failure}")
    _say(f"learnt {len(environment.learnt())} modules that trials import ({environment.imports_file})")
    if not failures:
        record = {"ops": ops, "built": built, "extensions": str(environment.extensions)}
        _record_file(environment).write_text(json.dumps(record))
    return 0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache-dir", default=None, help="default: $HOTFIRE_CACHE_DIR or ~/.cache/hotfire")
    parser.add_argument(
        "--library-set", default=None, help="a folder of libraries that is put in front of the own ones"
    )
    parser.add_argument("--ops", choices=["comm", "all", "none"], default="comm")
    parser.add_argument("--force", action="store_true", help="also if it was done before")
    parser.add_argument("--unlock", action="store_true", help="remove locks that no process holds")
    arguments = parser.parse_args()
    if arguments.library_set is not None:
        os.environ[libraries.LIBRARY_SET] = str(Path(arguments.library_set).absolute())
    libraries.enter()
    sys.exit(run(arguments.cache_dir, ops=arguments.ops, force=arguments.force, unlock=arguments.unlock))


if __name__ == "__main__":
    main()
