"""`HOTFIRE_*` variables: unknown ones, misspelt ones, and values that a program would refuse at its start."""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from hotfire.config import config_path, resolve
from hotfire.doctor.check import Check, Probe, ok, problem, warning
from hotfire.errors import HotfireError

_ASK_S = 15.0
_CLIENT = frozenset(
    {
        "HOTFIRE_SERVER",
        "HOTFIRE_TOKEN",
        "HOTFIRE_TLS",
        "HOTFIRE_CA_CERT",
        "HOTFIRE_CONFIG",
        "HOTFIRE_CACHE",
        "HOTFIRE_CACHE_DIR",
        "HOTFIRE_REDIS_URL",
        "HOTFIRE_SERVICE_CONFIG",
    }
)
#: Set by Hotfire itself in its own processes, or for its tests and scripts.
_INNER = frozenset(
    {
        "HOTFIRE_SLOT",
        "HOTFIRE_AGENT_PID",
        "HOTFIRE_LIBRARY_SET",
        "HOTFIRE_REPORT_IMPORTS",
        "HOTFIRE_ADAPTER_EXAMPLES",
        "HOTFIRE_ARGUMENTS",
        "HOTFIRE_FILE",
    }
)
#: The other houses say themselves what they take: they are programs of their own.
_ASK = """
import importlib, json
def look(module, name):
    try:
        cls = getattr(importlib.import_module(module), name)
    except ImportError:
        return None
    prefix = cls.model_config["env_prefix"]
    wrong = []
    try:
        cls()
    except Exception as error:
        errors = getattr(error, "errors", None)
        wrong = [
            {"field": prefix + "_".join(map(str, e["loc"])).upper(), "message": e["msg"]}
            for e in errors(include_input=False, include_url=False, include_context=False)
        ] if errors else [{"field": prefix, "message": str(error)[:300]}]
    return {"prefix": prefix, "names": [prefix + n.upper() for n in cls.model_fields], "wrong": wrong}
print(json.dumps([s for s in (
    look("hotfire_service.settings", "ServiceSettings"),
    look("hotfire_service.store.settings", "StoreSettings"),
    look("hotfire_workers.settings", "WorkerSettings"),
) if s]))
"""


def _variables() -> Iterator[Check]:
    given = sorted(name for name in os.environ if name.startswith("HOTFIRE_"))
    programs = _programs()
    prefixes = {p["prefix"] for p in programs}
    known = {*_CLIENT, *_INNER, *(name for p in programs for name in p["names"])}
    unasked = ("HOTFIRE_SERVICE_", "HOTFIRE_STORE_", "HOTFIRE_WORKER_")
    unknown = [
        name
        for name in given
        if name not in known
        and not any(name.startswith(prefix) and prefix not in prefixes for prefix in unasked)
    ]
    for name in unknown:
        near = difflib.get_close_matches(name, known - _INNER, n=1, cutoff=0.75)
        yield problem(
            "variables",
            f"{name} is no setting: nothing reads it",
            f"did you mean {near[0]}?" if near else "unset it; docs/operate.md has the settings",
        )
    for program in programs:
        for wrong in program["wrong"]:
            yield problem("variables", f"{wrong['field']}: {wrong['message']}", "correct the value")
    try:
        resolve()
    except HotfireError as error:
        yield problem("variables", error.message, f"correct it ({config_path()} or the environment)")
    if os.environ.get("HOTFIRE_CACHE") and os.environ.get("HOTFIRE_CACHE_DIR") not in (
        None,
        os.environ["HOTFIRE_CACHE"],
    ):
        yield warning(
            "variables",
            "HOTFIRE_CACHE and HOTFIRE_CACHE_DIR name different folders",
            "keep HOTFIRE_CACHE: client and worker then share one",
        )
    if not unknown:
        shown = ", ".join(given) if given else "none is set"
        yield ok("variables-known", shown)


def _programs() -> list[dict[str, Any]]:
    try:
        said = subprocess.run(
            [sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=_ASK_S, check=False
        )
        answer: list[dict[str, Any]] = json.loads(said.stdout) if said.returncode == 0 else []
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    return answer


PROBES = (Probe(name="variables", look=_variables, limit_s=_ASK_S + 2),)
