"""The changes to a DeepSpeed config without which it would not run here, each noted with its reason.

DeepSpeed's own Adam and its kin are compiled at first use, for two to four minutes. Where such an op is not
built, a trial takes torch's optimizer; everything else in the config stays.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

from hotfire_workers.train import extensions
from hotfire_workers.train.loops.context import RankContext

# Optimizer type (lower case) -> ops that DeepSpeed would load: (on the device, with optimizer offload).
_OPS = {
    "adam": ("fused_adam", "cpu_adam"),
    "adamw": ("fused_adam", "cpu_adam"),
    "lamb": ("fused_lamb", "fused_lamb"),
    "lion": ("fused_lion", "cpu_lion"),
    "adagrad": (None, "cpu_adagrad"),
}
# Accepted by DeepSpeed's Adam and unknown to torch's.
_NOT_TORCH = ("bias_correction", "set_grad_none", "adamw_mode")


def adapt_config(context: RankContext, config: dict[str, Any]) -> dict[str, Any]:
    """A copy of the config that can run here; what was changed goes to `context.adaptations`."""
    config = copy.deepcopy(config)
    section = config.get("optimizer")
    if isinstance(section, dict):
        _adapt_optimizer(context, section, offload=_offloads_optimizer(config))
    elif _offloads_optimizer(config) and not _is_built("cpu_adam"):
        reason = (
            "DeepSpeed's CPU Adam is not compiled here: the client's torch optimizer takes the offloaded "
            "steps; the same arithmetic, slower"
        )
        for key, value in (("zero_force_ds_cpu_optimizer", False), ("zero_allow_untested_optimizer", True)):
            if config.get(key) is not value:
                context.adapt(f"/deepspeed/{key}", config.get(key), value, reason)
                config[key] = value
    return config


def _adapt_optimizer(context: RankContext, section: dict[str, Any], *, offload: bool) -> None:
    name = str(section.get("type", ""))
    params = section.get("params")
    if not isinstance(params, dict):
        return
    op = _OPS.get(name.lower(), (None, None))[int(offload)]
    if op is None or params.get("torch_adam") or _is_built(op):
        return
    if name.lower() not in ("adam", "adamw"):
        context.adapt(
            "/deepspeed/optimizer/type",
            name,
            "AdamW",
            f"the op {op} is not compiled here: AdamW takes its place, and the trial says nothing of the "
            f"update rule of {name}",
        )
        section["type"] = "AdamW"
    context.adapt(
        "/deepspeed/optimizer/params/torch_adam",
        params.get("torch_adam"),
        True,
        f"the op {op} is not compiled here (it takes minutes): torch's Adam does the same arithmetic",
    )
    params["torch_adam"] = True
    for key in _NOT_TORCH:
        if key in params:
            context.adapt(
                f"/deepspeed/optimizer/params/{key}",
                params.pop(key),
                None,
                "torch's Adam has no such argument",
            )


def _offloads_optimizer(config: dict[str, Any]) -> bool:
    zero = config.get("zero_optimization")
    if not isinstance(zero, dict):
        return False
    section = zero.get("offload_optimizer")
    device = section.get("device", "none") if isinstance(section, dict) else "none"
    return bool(zero.get("cpu_offload")) or device in ("cpu", "nvme")


def _is_built(op: str) -> bool:
    """The op came with DeepSpeed's installation, or was built into the extension directory."""
    from deepspeed.git_version_info import installed_ops

    if installed_ops.get(op):
        return True
    folder = os.environ.get("TORCH_EXTENSIONS_DIR")
    if folder:
        return extensions.is_built(Path(folder), op)
    return any(extensions.is_built(path.parent.parent, op) for path in _default_builds(op))


def _default_builds(op: str) -> list[Path]:
    """Builds of an op below torch's default directory, which has one folder per Python and device."""
    return [p for root in extensions.places_to_look() for p in root.glob(f"*/{op}/{op}.so")]
