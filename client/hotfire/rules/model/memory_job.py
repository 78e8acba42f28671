"""From the evidence to the memory forecast: what M107, M108, `CheckConfig` and the report all ask."""

from __future__ import annotations

import dataclasses
from typing import Any

from hotfire.dsconfig.memory import Calibration, Forecaster, MemoryReport
from hotfire.dsconfig.memory_model import Decoder, UnknownArchitectureError, decoder_of
from hotfire.dsconfig.memory_setting import setting_of
from hotfire.dsconfig.memory_trainable import Trained, trained
from hotfire.rules.config.common import value_at
from hotfire.rules.config.job import effective_config, library, model_config
from hotfire.rules.engine import Skip
from hotfire.rules.evidence import Evidence, Role, Trial

_GIB = 2**30
#: What a trial must have taken for its peak to say anything: below, imports and thread pools weigh more.
_LEAST_MEASURED_BYTES = 256 * 2**20
#: Share of the peak that activations must be for it to say anything of them.
_LEAST_SHARE = 0.2
#: A measurement narrows the band of the activations from -20 % .. +20 % to -12 % .. +8 % of what it says.
_LOOSE, _TIGHT = 1.1, 0.9


def forecaster_of(evidence: Evidence) -> Forecaster:
    """The forecast of the job on its target.

    Raises:
        Skip: Something that it takes is not given, or the architecture is not counted.
    """
    described = model_config(evidence)
    if not described:
        raise Skip(evidence.unavailable.get("model", "the model's config.json was not given"))
    if evidence.config is None:
        raise Skip("no DeepSpeed config was given")
    config = effective_config(evidence)
    cluster = evidence.cluster
    if cluster is None or not (cluster.num_gpus or cluster.data_parallel_size):
        raise Skip("cluster.num_gpus is not given")
    num_gpus = cluster.num_gpus or cluster.data_parallel_size or 1
    _refuse(config, described, num_gpus, cluster.data_parallel_size)
    model, parts = _counted(evidence, described)
    setting = setting_of(
        config,
        evidence.training or {},
        num_gpus=num_gpus,
        num_nodes=cluster.num_nodes,
        data_parallel_size=cluster.data_parallel_size,
        model_config=described,
        longest_row=_longest_row(evidence),
        versions={"transformers": library(evidence, "transformers") or ""},
    )
    forecaster = Forecaster(
        model=model, trained=parts, setting=setting, available_bytes=cluster.gpu_memory_bytes
    )
    return dataclasses.replace(forecaster, calibration=_calibration(evidence))


def memory_report(evidence: Evidence) -> MemoryReport | None:
    """The forecast for the report; None where it cannot be made (M107 says why)."""
    try:
        return forecaster_of(evidence).report()
    except Skip:
        return None


def trial_forecaster(evidence: Evidence, trial: Trial) -> Forecaster | None:
    """What a trial itself should have taken where it ran; None where that cannot be told."""
    described, config = model_config(evidence), trial.effective_config
    if not described or config is None or not trial.num_ranks or trial.stage is None:
        return None
    try:
        layers = evidence.model.num_layers_run if evidence.model else None
        model = decoder_of(described, num_layers=layers)
        parts = trained(model, evidence.training or {})
    except UnknownArchitectureError:
        return None
    training = evidence.training or {}
    on_cpu = "cpu" in ((evidence.environment.device if evidence.environment else None) or "").lower()
    setting = setting_of(config, training, num_gpus=trial.num_ranks, num_nodes=1, model_config=described)
    length = _longest_of(evidence, trial)
    return Forecaster(
        model=model,
        trained=parts,
        setting=dataclasses.replace(
            setting,
            dtype=trial.dtype,
            gradient_bytes=4 if trial.dtype == "fp32" else setting.gradient_bytes,
            length=length,
            low_length=length,
            on_cpu=on_cpu,
            has_context=on_cpu,  # the allocator's own peak is what a GPU trial measures
            # On a CPU torch's own optimizer runs, with two temporaries of each (flat, but for stage 0) tensor.
            has_own_optimizer=setting.has_own_optimizer and not on_cpu,
            step_bytes=(8.0 if trial.stage else 0.0) if on_cpu else setting.step_bytes,
        ),
    )


# --- What is counted --------------------------------------------------------------------------------------


def _refuse(config: dict[str, Any], model: dict[str, Any], num_gpus: int, replicas: int | None) -> None:
    """What the arithmetic does not cover."""
    if replicas is not None and replicas < num_gpus:
        raise Skip(
            f"other parallelism divides the model (data_parallel_size {replicas} of {num_gpus} GPUs): "
            "not forecast"
        )
    parallel = value_at(config, "/tensor_parallel/autotp_size")
    if isinstance(parallel, int) and parallel > 1:
        raise Skip(f"tensor_parallel.autotp_size {parallel} divides the weights: not forecast")
    sequence = config.get("sequence_parallel_size")
    if isinstance(sequence, int) and sequence > 1:
        raise Skip(f"sequence_parallel_size {sequence} divides the rows: not forecast")
    if isinstance(model.get("quantization_config"), dict):
        method = model["quantization_config"].get("quant_method", "")
        raise Skip(f"the weights are quantised ({method}): not forecast".replace(" ()", ""))


def _counted(evidence: Evidence, described: dict[str, Any]) -> tuple[Decoder, Trained]:
    try:
        model = decoder_of(described)
        parts = trained(model, evidence.training or {})
    except UnknownArchitectureError as error:
        raise Skip(f"memory is not forecast: {error}") from None
    facts = evidence.model
    if facts is not None and facts.num_parameters is not None:
        # Counted in the model itself.
        parts = dataclasses.replace(
            parts,
            total=facts.num_parameters + parts.adapter,
            trainable=parts.trainable if facts.num_trainable is None else facts.num_trainable,
        )
    return model, parts


def _longest_row(evidence: Evidence) -> int | None:
    lengths = [row.num_tokens for row in evidence.data.rows] if evidence.data is not None else []
    return max(lengths, default=None)


def _longest_of(evidence: Evidence, trial: Trial) -> int | None:
    """Tokens of the longest row that a trial ran."""
    lengths = {row.row: row.num_tokens for row in evidence.data.rows} if evidence.data else {}
    ran = {
        number
        for step in trial.steps
        for rank in step.ranks
        for batch in rank.micro_batches
        for number in batch.rows
    }
    return max((lengths[number] for number in ran if number in lengths), default=None)


# --- Measured peaks ---------------------------------------------------------------------------------------


def _calibration(evidence: Evidence) -> Calibration | None:
    """What the trial with the largest measured peak says; None where none says anything."""
    trials = [
        trial
        for trial in evidence.trials or []
        if trial.completed
        and trial.peak_memory_bytes is not None
        and trial.role in (Role.CANDIDATE, Role.STAGE)
    ]
    for trial in sorted(trials, key=lambda t: -(t.peak_memory_bytes or 0)):
        forecaster = trial_forecaster(evidence, trial)
        if forecaster is None or forecaster.setting.length is None:
            continue
        return _compared(trial, forecaster)
    return None


def _compared(trial: Trial, forecaster: Forecaster) -> Calibration:
    measured, expected = trial.peak_memory_bytes or 0, forecaster.at()
    setting = forecaster.setting
    words = (
        f"trial {trial.name!r} on {'CPU' if setting.on_cpu else 'GPU'} (stage {setting.stage}, "
        f"{setting.world_size} ranks): {measured / _GIB:.2f} GiB measured, "
        f"{expected.total_bytes / _GIB:.2f} GiB forecast"
    )
    counted = expected.activations_bytes or 0
    if measured < _LEAST_MEASURED_BYTES or counted < _LEAST_SHARE * expected.total_bytes:
        return Calibration(words=f"{words}; too small to correct anything by")
    factor = max(0.1, (measured - (expected.total_bytes - counted)) / counted)
    if setting.on_cpu:
        # Another allocator, other kernels: it may widen the band, never narrow or move it.
        widened = max(1.0, factor)
        return Calibration(words=f"{words}; a CPU's figure only widens the band", high=widened)
    return Calibration(
        words=f"{words}; activations x {factor:.2f}",
        factor=factor,
        low=factor * _LOOSE,
        high=factor * _TIGHT,
    )
