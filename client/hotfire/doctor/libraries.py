"""Python, the extras, the versions of the libraries, and which of them are known to train wrongly together."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterator

from hotfire.config import resolve
from hotfire.doctor.check import Check, Probe, not_applicable, ok, problem, warning
from hotfire.dsconfig.known_bad import TABLE, KnownBad
from hotfire.dsconfig.versions import KNOWN, parse, within
from hotfire.errors import HotfireError
from hotfire.local.install import missing

_OLDEST_PYTHON = (3, 11)
_NEWEST_PYTHON = (3, 14)
_EXTRAS = {
    "cli": ("typer", "rich", "yaml", "hjson"),
    "service": ("celery", "redis", "pydantic_settings", "structlog", "grpc_health", "fsspec"),
    "worker": ("celery", "redis", "pydantic_settings", "psutil"),
    "train": ("torch", "deepspeed", "transformers", "accelerate", "peft"),
}
_NEEDED_FOR = {
    "cli": "the hotfire command with YAML files",
    "service": "hotfire serve and --local",
    "worker": "hotfire worker and --local",
    "train": "the training environment of hotfire worker and --local",
}
_LIBRARIES = ("torch", "deepspeed", "transformers", "accelerate", "peft")
_OLDEST = {"torch": "2.4", "deepspeed": "0.15", "transformers": "4.50", "accelerate": "1.2", "peft": "0.14"}
_MAX_NAMED = 4


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < _OLDEST_PYTHON:
        yield problem("python", f"Python {version}", "use Python 3.11 or newer")
    elif sys.version_info[:2] > _NEWEST_PYTHON:
        yield warning("python", f"Python {version} is newer than what is tested", "use Python 3.11 to 3.14")
    else:
        yield ok("python", f"Python {version}", executable=sys.executable)


def _extras() -> Iterator[Check]:
    elsewhere = _has_server()
    for extra, modules in _EXTRAS.items():
        name = f"extra-{extra}"
        absent = missing(modules)
        if not absent:
            yield ok(name, f"installed: {_NEEDED_FOR[extra]}")
        elif elsewhere and extra != "cli":
            yield not_applicable(name, f"not installed; checks run on {elsewhere}", missing=absent)
        else:
            yield problem(
                name,
                f"{', '.join(absent)} not installed: needed for {_NEEDED_FOR[extra]}",
                f"pip install 'hotfire[{'local,train' if extra != 'cli' else 'cli'}]'",
                missing=absent,
            )


def _has_server() -> str | None:
    try:
        return resolve().server
    except HotfireError:
        return None


def versions() -> dict[str, str]:
    """Library -> installed version; from the packages' own records, nothing is imported."""
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _versions() -> Iterator[Check]:
    found = versions()
    if not found:
        yield not_applicable("versions", "no training library is installed here")
        return
    old = [f"{n} {v} (needs {_OLDEST[n]})" for n, v in found.items() if parse(v) < parse(_OLDEST[n])]
    if old:
        names = " ".join(f"'{n}>={_OLDEST[n]}'" for n in found if parse(found[n]) < parse(_OLDEST[n]))
        yield problem("versions", f"too old: {', '.join(old)}", f"pip install -U {names}", versions=found)
    else:
        yield ok("versions", ", ".join(f"{n} {v}" for n, v in found.items()), versions=found)


def _known_bad() -> Iterator[Check]:
    found = versions()
    if "deepspeed" not in found:
        yield not_applicable("known-bad-versions", "DeepSpeed is not installed here")
        return
    faults = known_faults(found)
    curable = [fault for fault in faults if fault.fixed_in is not None]
    name = f"DeepSpeed {found['deepspeed']}"
    if not curable:
        rest = f"; {len(faults)} that no release cures" if faults else ""
        yield ok("known-bad-versions", f"{name} has no known fault that a newer release cures{rest}")
        return
    certain = [fault for fault in curable if fault.certain]
    named = [*certain, *(fault for fault in curable if not fault.certain)]
    cured = max((fault.fixed_in or KNOWN for fault in curable), key=parse)
    shown = "; ".join(f"{f.id} (fixed in {f.fixed_in})" for f in named[:_MAX_NAMED])
    more = f" and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
    yield warning(
        "known-bad-versions",
        f"{name} with torch {found.get('torch', 'unknown')} trains wrongly with some configs: {shown}{more}",
        f"pip install -U 'deepspeed>={cured}'; hotfire lint says whether a config is concerned",
        faults=[{"id": f.id, "what": f.what, "fixed_in": f.fixed_in, "certain": f.certain} for f in named],
    )


def known_faults(found: dict[str, str]) -> list[KnownBad]:
    """What the version table has of these versions, whatever the config."""
    deepspeed = parse(found["deepspeed"])
    torch = parse(found["torch"]) if "torch" in found else None
    return [
        fault
        for fault in TABLE
        if within(deepspeed, fault.first_bad, fault.fixed_in)
        and (fault.torch_since is None or (torch is not None and torch >= parse(fault.torch_since)))
    ]


def _pair() -> Iterator[Check]:
    """The CUDA that torch was built for, told by its version: a CPU build beside a GPU trains on the CPU."""
    torch = versions().get("torch")
    if torch is None:
        yield not_applicable("torch-build", "torch is not installed here")
        return
    build = re.search(r"\+(cpu|cu\d+|rocm[\d.]+)", torch)
    kind = build[1] if build else "as published"
    from hotfire.doctor.machine import has_nvidia_device

    if kind == "cpu" and has_nvidia_device():
        yield problem(
            "torch-build",
            f"torch {torch} is built for the CPU, and this machine has an NVIDIA GPU",
            "install torch built for CUDA: https://pytorch.org/get-started",
        )
    else:
        yield ok("torch-build", f"torch {torch} ({kind})")


PROBES = (
    Probe(name="python", look=_python),
    Probe(name="extras", look=_extras),
    Probe(name="versions", look=_versions),
    Probe(name="known-bad-versions", look=_known_bad),
    Probe(name="torch-build", look=_pair),
)
