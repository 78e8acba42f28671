"""M107 will-not-fit."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.dsconfig.memory import Forecaster, MemoryForecast
from hotfire.rules.config.common import place
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Severity
from hotfire.rules.model.memory_changes import (
    fix_of,
    gpus_needed,
    placement_words,
    size,
    smallest_changes,
)
from hotfire.rules.model.memory_job import forecaster_of


class WillNotFit(Rule):
    """The job takes more memory than a GPU of the target has.

    Why:
        Weights, gradients and optimizer states follow from the model, the precision, the ZeRO stage and the number of
        GPUs; activations from micro-batch, length, checkpointing and the attention kernel. All of it is known before
        the job starts. ERROR: not even the low end of the forecast fits. WARNING: what there is lies within the band.

    Example:
        A model of 7 billion parameters, trained in full in bf16 at stage 2 on 8 GPUs of 24 GiB: 13 GiB of weights,
        and an eighth of 14 bytes for each parameter, before the first token.

    Fix:
        The smallest change that fits, worked out from the same forecast: a smaller micro-batch with more
        accumulation, recomputed activations, a higher stage, offload (proposed as a patch).

    Source:
        Rajbhandari et al., ZeRO (SC 2020); Korthikanti et al. (2022); deepspeed/runtime/zero; failure F106.
    """

    id = "M107"
    name = "will-not-fit"
    severity = Severity.ERROR
    needs = ("config", "cluster")
    is_static = True

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Compares the band with what there is."""
        forecaster = forecaster_of(evidence)
        if forecaster.available_bytes is None:
            raise Skip("cluster.gpu_memory_bytes is not given")
        forecast = forecaster.at()
        if forecast.cannot_fit:
            yield self._finding(evidence, forecaster, forecast, Severity.ERROR)
        elif forecast.activations_bytes is None:
            raise Skip(
                "training.max_length is not given: activations are not known (states and buffers take about "
                f"{size(forecast.total_bytes)} of {size(forecaster.available_bytes)})"
            )
        elif forecast.high_bytes > forecaster.available_bytes:
            yield self._finding(evidence, forecaster, forecast, Severity.WARNING)

    def _finding(
        self, evidence: Evidence, forecaster: Forecaster, forecast: MemoryForecast, severity: Severity
    ) -> Finding:
        assert evidence.cluster is not None
        setting, available = forecaster.setting, forecaster.available_bytes or 0
        activations = forecast.activations_bytes
        parts = f"states {size(forecast.states_bytes)}"
        if activations is not None:
            parts += f", activations {size(activations)}"
        parts += f", buffers {size(forecast.buffers_bytes)}"
        where = f"{placement_words(setting.placement)} on {setting.world_size} GPUs"
        band = f"{size(forecast.low_bytes)} to {size(forecast.high_bytes)}"
        if severity is Severity.ERROR:
            message = (
                f"{where} takes about {size(forecast.total_bytes)} a GPU ({parts}; {band}), and there are "
                f"{size(available)}: it will not fit."
            )
        else:
            doubt = "it may not fit" if forecast.fits else "it will probably not fit"
            message = (
                f"{where} takes about {size(forecast.total_bytes)} a GPU ({parts}), and there are "
                f"{size(available)}: {doubt}. Lowered to a warning: the forecast is from {band}."
            )
        changes = smallest_changes(forecaster, evidence.cluster)
        fixes = [fix_of(evidence, change, setting) for change in changes] or [_more_gpus(forecaster)]
        return Finding(
            message=message,
            severity=severity,
            location=place(evidence, "/zero_optimization"),
            evidence={
                "stage": setting.stage,
                "offload": forecast.offload,
                "num_parameters": forecaster.trained.total,
                "num_trainable": forecaster.trained.trainable,
                "states_bytes": forecast.states_bytes,
                "activations_bytes": activations,
                "buffers_bytes": forecast.buffers_bytes,
                "total_bytes": forecast.total_bytes,
                "low_bytes": forecast.low_bytes,
                "high_bytes": forecast.high_bytes,
                "available_bytes": available,
                "micro_batch_size": setting.micro_batch_size,
                "length": setting.length,
                "largest_micro_batch_size": forecaster.largest_micro_batch(),
                "calibrated_on": forecaster.calibration.words if forecaster.calibration else None,
            },
            fix=fixes[0],
            alternatives=fixes[1:],
        )


def _more_gpus(forecaster: Forecaster) -> Fix:
    needed = gpus_needed(forecaster)
    if needed is None or needed == forecaster.setting.world_size:
        return Fix(
            description="No number of these GPUs holds it: shorten max_length, train an adapter (training.peft), or "
            "take GPUs with more memory."
        )
    return Fix(
        description=f"At stage 3, with micro-batch 1 and recomputed activations, it takes about {needed} such GPUs "
        f"instead of {forecaster.setting.world_size}; or train an adapter (training.peft)."
    )
