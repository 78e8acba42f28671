"""DeepSpeed keys that open files or sockets: a trial runs without them, and says so."""

from __future__ import annotations

import copy
from typing import Any

from hotfire.rules.evidence import Adaptation

UNSAFE_KEYS: dict[str, str] = {
    "/tensorboard": "writes event files to a path that the config names",
    "/wandb": "sends the run's numbers over the network",
    "/comet": "sends the run's numbers over the network",
    "/csv_monitor": "writes files to a path that the config names",
    "/monitor_config": "writes files or sends the run's numbers over the network",
    "/autotuning": "starts other jobs and writes their results to paths that the config names",
    "/nebula": "stores checkpoints at a path that the config names",
    "/checkpoint": "chooses the checkpoint writer and where it writes",
    "/checkpoint_engine": "chooses the checkpoint writer and where it writes",
    "/datastates_ckpt": "chooses the checkpoint writer and where it writes",
    "/data_efficiency": "reads and writes index files at paths that the config names",
    "/aio": "tunes reading from and writing to NVMe, which trials do not use",
    "/flops_profiler/output_file": "writes a file at a path that the config names",
    "/zero_optimization/offload_optimizer/nvme_path": "opens files at a path that the config names",
    "/zero_optimization/offload_param/nvme_path": "opens files at a path that the config names",
}
"""Pointer within the config -> why a trial runs without it. An offload device "nvme" becomes "cpu"."""

_OFFLOADS = ("offload_optimizer", "offload_param")


def neutralise(config: dict[str, Any]) -> tuple[dict[str, Any], list[Adaptation]]:
    """The config without the keys that open files or sockets; the given one is left as it is.

    Any other key whose name ends in `monitor` is taken out as well, as DeepSpeed names its writers so.

    Returns:
        The new config, and one `Adaptation` per change; its path is a pointer into the spec (/deepspeed/...).
    """
    safe = copy.deepcopy(config)
    changes: list[Adaptation] = []
    for pointer, reason in UNSAFE_KEYS.items():
        _remove(safe, pointer.strip("/").split("/"), reason, changes)
    for key in [k for k in safe if isinstance(k, str) and k.endswith("monitor")]:
        _remove(safe, [key], "is a monitor: it writes files or sends numbers", changes)
    _offload_to_cpu(safe, changes)
    return safe, changes


def _remove(config: dict[str, Any], parts: list[str], reason: str, changes: list[Adaptation]) -> None:
    section: Any = config
    for part in parts[:-1]:
        section = section.get(part)
        if not isinstance(section, dict):
            return
    if parts[-1] not in section:
        return
    before = section.pop(parts[-1])
    if before is not None:
        changes.append(Adaptation(path="/deepspeed/" + "/".join(parts), before=before, reason=reason))


def _offload_to_cpu(config: dict[str, Any], changes: list[Adaptation]) -> None:
    zero = config.get("zero_optimization")
    if not isinstance(zero, dict):
        return
    for name in _OFFLOADS:
        offload = zero.get(name)
        if isinstance(offload, dict) and str(offload.get("device")).lower() == "nvme":
            changes.append(
                Adaptation(
                    path=f"/deepspeed/zero_optimization/{name}/device",
                    before=offload["device"],
                    after="cpu",
                    reason="trials open no NVMe files: the same partitions are kept in host memory",
                )
            )
            offload["device"] = "cpu"
