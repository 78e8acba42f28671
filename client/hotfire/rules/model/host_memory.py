"""M108 host-memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from hotfire.dsconfig.memory import Forecaster
from hotfire.dsconfig.memory_host import HostMemory
from hotfire.dsconfig.states import Placement
from hotfire.rules.config.common import config_of, drop, place, put, value_at
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Severity
from hotfire.rules.model.memory_changes import size
from hotfire.rules.model.memory_job import forecaster_of

_OPTIMIZER, _PARAM = "/zero_optimization/offload_optimizer", "/zero_optimization/offload_param"
_STAGE = "/zero_optimization/stage"


class HostMemoryRule(Rule):
    """Offload, or loading the model, takes more host memory than a host has.

    Why:
        The kernel kills a process of a host that has no memory left: exit code -9, no traceback. Offload keeps about
        18 bytes of each trained parameter on the hosts (20 with the weights), pinned memory is rounded up, and below
        stage 3 every rank of a host loads the whole model.

    Example:
        A model of 7 billion parameters with its optimizer offloaded, 8 GPUs on one host of 128 GiB: about 113 GiB
        for the states, besides 8 ranks of some GiB each.

    Fix:
        No offload where the GPUs hold it without; stage 3, which loads file by file; NVMe; more hosts.

    Source:
        deepspeedai/DeepSpeed issues 3160, 3823, 4239, 4571; hiyouga/LlamaFactory issues 4629, 9116; failure F103.
    """

    id = "M108"
    name = "host-memory"
    severity = Severity.ERROR
    needs = ("config", "cluster")
    is_static = True

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Compares the band with what there is."""
        forecaster = forecaster_of(evidence)
        assert evidence.cluster is not None
        available = evidence.cluster.host_memory_bytes
        if available is None:
            raise Skip("cluster.host_memory_bytes is not given")
        host = forecaster.host
        if host.high <= available:
            return
        fails = host.low > available
        setting = forecaster.setting
        loads = host.loading >= host.offload
        why = (
            f"each of {setting.ranks_per_node} ranks loads the model ({size(host.loading)} together)"
            if loads
            else f"offload keeps {size(host.offload)} there"
        )
        band = f"{size(host.low)} to {size(host.high)}"
        end = (
            f"it will not fit ({band})."
            if fails
            else f"it may not fit. Lowered to a warning: the forecast is from {band}."
        )
        fixes = _fixes(evidence, forecaster, available, loads=loads)
        yield Finding(
            message=f"A host needs about {size(host.expected)}: {why}, besides the ranks themselves. It has "
            f"{size(available)}: {end}",
            severity=Severity.ERROR if fails else Severity.WARNING,
            location=place(evidence, _STAGE if loads else _OPTIMIZER),
            evidence=_numbers(host, available, setting.ranks_per_node),
            fix=fixes[0],
            alternatives=fixes[1:],
        )


def _numbers(host: HostMemory, available: int, ranks: int) -> dict[str, int]:
    return {
        "host_bytes": int(host.expected),
        "low_bytes": int(host.low),
        "high_bytes": int(host.high),
        "offload_bytes": int(host.offload),
        "loading_bytes": int(host.loading),
        "available_bytes": available,
        "ranks_per_host": ranks,
    }


def _fixes(evidence: Evidence, forecaster: Forecaster, available: int, *, loads: bool) -> list[Fix]:
    config, setting = config_of(evidence), forecaster.setting
    fixes: list[Fix] = []
    if not loads and forecaster.available_bytes is not None:
        for stage in dict.fromkeys((setting.stage, 3)):
            bare = dataclasses.replace(setting, placement=Placement(stage=stage), pins=False)
            if forecaster.at(bare).fits and forecaster.host_at(bare).expected <= available:
                patch = [drop(p) for p in (_OPTIMIZER, _PARAM) if value_at(config, p) is not None]
                patch += [] if stage == setting.stage else put(config, _STAGE, stage)
                fixes.append(Fix(description=f"Stage {stage} without offload fits the GPUs.", patch=patch))
                break
    if loads and setting.stage < 3:
        sharded = dataclasses.replace(
            setting, placement=Placement(stage=3, offload=setting.placement.offload)
        )
        if forecaster.host_at(sharded).expected <= available:
            fixes.append(
                Fix(
                    description="Use ZeRO stage 3, under which no rank loads the whole model.",
                    patch=put(config, _STAGE, 3),
                )
            )
    fixes.append(
        Fix(
            description="Load the weights in 16 bits (torch_dtype), on hosts with more memory or fewer GPUs each."
            if loads
            else "Spread the job over more hosts, or offload to NVMe."
        )
    )
    return fixes
