"""The environment of user code: an allow-list. No broker URL, no token, nothing that was not asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_ALLOWED = {
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM",
    "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH", "CC", "CXX",
    "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX",
    "XDG_CACHE_HOME", "TORCH_EXTENSIONS_DIR", "TORCH_HOME", "TORCH_CUDA_ARCH_LIST", "MAX_JOBS",
    "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
    "HF_HOME", "HF_HUB_CACHE", "HF_MODULES_CACHE", "HOTFIRE_CACHE_DIR",
}  # fmt: skip
_ALLOWED_PREFIXES = (
    "LC_", "CUDA_", "NVIDIA_", "NCCL_", "TORCH_NCCL_", "TORCH_FR_", "GLOO_", "ROCR_", "HIP_", "DS_", "DEEPSPEED_",
)  # fmt: skip
_ONLY_WITH_HUB = {
    "HF_ENDPOINT", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
}  # fmt: skip
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"://[^/\s@]*@")


def is_secret(name: str, value: str) -> bool:
    """The name says so, or the value is a URL with a user in it."""
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))


def rank_environment(
    *,
    device: str = "cpu",
    cache_dir: str | Path | None = None,
    allow_hub: bool = False,
    extra: Mapping[str, str] | None = None,
    base: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The environment that a warm process or a cold launch is started with (they add settings of their own).

    Args:
        device: "cpu", or DeepSpeed's name of the accelerator ("cuda").
        cache_dir: Root of the cache, passed on as HOTFIRE_CACHE_DIR.
        allow_hub: User code may ask the Hugging Face hub.
        extra: Set last, as given, by the operator: this is how a variable outside the list gets through.
        base: What to choose from; None: this process's environment.
    """
    base = os.environ if base is None else base
    allowed = _ALLOWED | (_ONLY_WITH_HUB if allow_hub else set())
    chosen = {
        name: value
        for name, value in base.items()
        if (name in allowed or name.startswith(_ALLOWED_PREFIXES)) and not is_secret(name, value)
    }
    chosen |= {
        # Before the first import: nothing may ask the driver which accelerator there is.
        "DS_ACCELERATOR": device,
        "PYTHONUNBUFFERED": "1",
        # The run directory, where user files lie, is not a place to import from.
        "PYTHONSAFEPATH": "1",
    }
    if not allow_hub:
        chosen |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    if cache_dir is not None:
        chosen["HOTFIRE_CACHE_DIR"] = str(cache_dir)
    return chosen | dict(extra or {})
