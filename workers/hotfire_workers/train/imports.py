"""Everything a trial imports, so that the warm process has it already; and an environment's own folder.

`import torch, deepspeed, transformers` leaves 1,800 to 2,600 modules that every rank would import lazily, 3
to 7 s each time. The list below covers the versions it was measured on; what other versions need is learnt by
`hotfire_workers.train.setup`, which runs real trials and asks the ranks what they still had to import.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import io
import json
import os
import pkgutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotfire_workers.train import libraries

_DISTRIBUTIONS = (
    "torch",
    "deepspeed",
    "transformers",
    "accelerate",
    "peft",
    "tokenizers",
    "safetensors",
    "gguf",
)

# In this order; what is not installed, or has another name in another version, is passed over.
BASE = ("torch", "deepspeed", "transformers")
KNOWN = (
    "transformers.trainer",  # brings accelerate, peft, sympy, torch._dynamo
    # deepspeed.initialize at stages 1-3, through is_zero_supported_optimizer: 604 modules
    "deepspeed.runtime.zero.muon.muon_optimizer",
    # the op builders' probes in init_distributed
    "distutils.ccompiler",
    "distutils.sysconfig",
    "distutils.compilers.C.unix",
    "distutils.compilers.C.cygwin",
    "distutils.compilers.C.msvc",
    "distutils.compilers.C.zos",
    "numpy.ctypeslib",
    "deepspeed.ops.op_builder.all_ops",
    "torch.utils.cpp_extension",
    "deepspeed.module_inject.auto_ep_config",
    "deepspeed.module_inject.auto_ep_layer",
    "deepspeed.module_inject.auto_ep_comm",
    "deepspeed.comm.mori",
    # stage 3
    "deepspeed.runtime.superoffload.superoffload_stage3",
    "torch._subclasses.schema_check_mode",
    "transformers.models.glm.modeling_glm",
    "transformers.models.glm4.modeling_glm4",
    "transformers.models.llama.modeling_llama",
    "transformers.models.qwen2.modeling_qwen2",
    "transformers.integrations.deepspeed",
    "transformers.data.data_collator",
    "accelerate.utils.deepspeed",
    "peft",
    "torch.distributed.run",
    "torch.profiler._cupti_monitor",
)
_NOT_IN_RANKS = ("cold", "setup", "specimen", "warm")
"""Modules of ours that are processes of their own, or are for set-up only."""


SETTINGS = {
    # One thread: a pool of threads does not survive a fork. Ranks may raise it for themselves.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "TOKENIZERS_PARALLELISM": "false",
    # Count GPUs without initialising the driver: a process with a CUDA context cannot be forked.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    # The agent sets 1 when this is unset, which aborts work before the flight recorder has written.
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "3",
    # One node: the process group meets on the loopback, whatever the host name resolves to.
    "GLOO_SOCKET_IFNAME": "lo",
    "WANDB_MODE": "disabled",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Set before the first import, in every process of the training environment. A value that is there stays."""


@functools.cache
def versions() -> dict[str, str]:
    """Installed versions of the libraries that matter, without importing one."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def default_cache_dir() -> Path:
    """`$HOTFIRE_CACHE_DIR`, else `hotfire` below the user's cache folder."""
    if given := os.environ.get("HOTFIRE_CACHE_DIR"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hotfire"


@dataclass(frozen=True)
class Environment:
    """One Python environment (interpreter, library versions, library set) and its folder in the cache."""

    key: str
    folder: Path

    @classmethod
    def current(cls, cache_dir: str | Path | None = None) -> Environment:
        """The environment of this interpreter.

        Args:
            cache_dir: Root of the cache; None: `default_cache_dir()`.
        """
        names: list[Any] = [sys.prefix, versions()]
        if (library_set := libraries.current()) is not None:
            names.append(library_set)  # it may hold a library that `versions` does not look at
        text = json.dumps(names, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        root = Path(cache_dir) if cache_dir else default_cache_dir()
        return cls(key=key, folder=root / "environments" / key)

    @property
    def extensions(self) -> Path:
        """Where DeepSpeed's compiled ops lie: `$TORCH_EXTENSIONS_DIR` if set, else a folder of ours."""
        given = os.environ.get("TORCH_EXTENSIONS_DIR")
        return Path(given) if given else self.folder / "extensions"

    @property
    def owns_extensions(self) -> bool:
        """The extension folder is ours alone, so we may remove a stale lock from it."""
        return self.extensions.is_relative_to(self.folder) or libraries.current() is not None

    def apply(self) -> None:
        """Set `SETTINGS` and point torch at the extension folder. Call it before torch is imported.

        The interpreter's own programs come first on PATH: a ninja of another version takes a build's log for
        foreign and compiles everything again, with and without `activate` in turn.
        """
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        own = str(Path(sys.executable).parent)
        others = [place for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if place != own]
        os.environ["PATH"] = os.pathsep.join([own, *others])
        self.extensions.mkdir(parents=True, exist_ok=True)
        os.environ["TORCH_EXTENSIONS_DIR"] = str(self.extensions)

    @property
    def imports_file(self) -> Path:
        """The learnt list."""
        return self.folder / "imports.json"

    def learnt(self) -> list[str]:
        """The learnt list; empty when set-up has not run or the file is damaged."""
        try:
            modules = json.loads(self.imports_file.read_text())["modules"]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return [name for name in modules if isinstance(name, str)]

    def learn(self, modules: set[str]) -> None:
        """Add to the learnt list."""
        record = {"versions": versions(), "modules": sorted(modules | set(self.learnt()))}
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.imports_file.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(record, indent=0))
        temporary.replace(self.imports_file)


def import_all(names: tuple[str, ...] | list[str], *, required: bool = False) -> list[str]:
    """Import each module.

    Args:
        names: Dotted names, in order.
        required: Raise on failure instead of passing over it.

    Returns:
        The names that could not be imported: Cython's pseudo-modules, other versions' modules.
    """
    failed = []
    for name in names:
        if name in sys.modules:
            continue
        try:
            importlib.import_module(name)
        except Exception:  # a module may raise anything while it is imported
            if required:
                raise
            failed.append(name)
    return failed


def our_own() -> list[str]:
    """The modules of this house that run in ranks and in preparations."""
    house = importlib.import_module("hotfire_workers.train")
    skipped = {f"{house.__name__}.{name}" for name in _NOT_IN_RANKS}
    # A package that cannot be imported is reported by import_all, like any module.
    found = pkgutil.walk_packages(house.__path__, f"{house.__name__}.", onerror=lambda _name: None)
    return [module.name for module in found if module.name not in skipped]


def quiet() -> None:
    """Before tqdm is used: no monitor thread, which would not survive a fork."""
    with contextlib.suppress(ImportError):
        import tqdm

        tqdm.tqdm.monitor_interval = 0


def import_everything(environment: Environment) -> dict[str, Any]:
    """Import the base, the known list, our own modules and what set-up has learnt.

    Returns:
        {"num_modules": loaded in all, "not_imported": names passed over}.

    Raises:
        ImportError: torch, deepspeed or transformers is missing or broken.
    """
    quiet()
    import_all(BASE, required=True)
    not_imported = import_all(KNOWN) + import_all(our_own())
    # Some learnt modules print when they are imported (this.py, old codemods): not into our log.
    with contextlib.redirect_stdout(io.StringIO()):
        not_imported += import_all(environment.learnt())
    return {"num_modules": len(sys.modules), "not_imported": not_imported}
