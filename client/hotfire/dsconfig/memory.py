"""The memory forecast: what a job takes on each GPU of the target, by ZeRO stage and offload, and on each host.

Pure arithmetic over the model's config.json and the DeepSpeed config that takes effect. The peak is the largest of
three moments: the backward pass begins (all activations), it ends (all gradients), the optimizer steps (fp32 copies).
Each figure has a band. The low end leaves out what may not be there (rows shorter than `max_length`, weights that
stage 3 need not keep); the high end adds a margin for fragments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

from hotfire.dsconfig import memory_activations as activations
from hotfire.dsconfig.memory_activations import activations_of
from hotfire.dsconfig.memory_buffers import buffers_of
from hotfire.dsconfig.memory_host import HostMemory, host_of
from hotfire.dsconfig.memory_model import Decoder
from hotfire.dsconfig.memory_setting import Setting
from hotfire.dsconfig.memory_trainable import Trained
from hotfire.dsconfig.states import Placement, states_of

#: Fragments and rounding of the caching allocator, on top of what is in use.
_FRAGMENTS = 1.06
#: Of what the optimizer's step takes for a moment: a fused one may do with less.
_LOW_STEP = 0.5
_LARGEST_MICRO_BATCH = 4096
_FULL_OFFLOAD = "optimizer+param"
_COMPARED = (
    Placement(stage=0),
    Placement(stage=1),
    Placement(stage=2),
    Placement(stage=2, offload="optimizer"),
    Placement(stage=3),
    Placement(stage=3, offload="optimizer"),
    Placement(stage=3, offload=_FULL_OFFLOAD),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryForecast:
    """One GPU at one stage. Field names are the wire's.

    `total_bytes` is the peak, which may be less than the parts together: gradients and activations are at their most
    at different moments. `activations_bytes` is None where no length is known; the total then leaves them out.
    """

    stage: int
    offload: str = "none"
    states_bytes: int
    activations_bytes: int | None
    buffers_bytes: int
    total_bytes: int
    low_bytes: int
    high_bytes: int
    available_bytes: int | None = None
    fits: bool | None = None
    """The expected peak is not above what is there."""

    @property
    def surely_fits(self) -> bool:
        """Even the high end fits."""
        return (
            self.activations_bytes is not None
            and self.available_bytes is not None
            and self.high_bytes <= self.available_bytes
        )

    @property
    def cannot_fit(self) -> bool:
        """Not even the low end fits."""
        return self.available_bytes is not None and self.low_bytes > self.available_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryReport:
    """The forecast as the wire has it."""

    stages: list[MemoryForecast]
    host_bytes: int | None = None
    largest_micro_batch_size: int | None = None
    calibrated_on: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What measured peaks say of the activations that were counted."""

    factor: float = 1.0
    """Measured over counted; multiplies the expected figure."""
    low: float = 1.0
    """Multiplies the low end; 1 where a measurement must not narrow the band."""
    high: float = 1.0
    words: str


@dataclass(frozen=True, kw_only=True)
class Forecaster:
    """Forecasts a job and its variants.

    Attributes:
        model: The model.
        trained: What of it is trained.
        setting: The job as submitted.
        available_bytes: Memory of one GPU.
        calibration: By measured peaks.
    """

    model: Decoder
    trained: Trained
    setting: Setting
    available_bytes: int | None = None
    calibration: Calibration | None = field(default=None)

    def at(self, setting: Setting | None = None) -> MemoryForecast:
        """Forecasts a variant; the job as submitted where none is given."""
        setting = setting or self.setting
        states = states_of(setting, num_parameters=self.trained.total, num_trainable=self.trained.trainable)
        buffers = buffers_of(self.model, self.trained, setting)
        # The memory of a CPU is the host's.
        kept = states.weights + states.optimizer + (states.host if setting.on_cpu else 0.0)
        acts = self._activations(setting)

        def peak(end: int) -> float:
            """At the low end (0), as expected (1), at the high end (2)."""
            begins = states.early_gradients + acts[end] + buffers.working[end]
            ends = states.gradients + buffers.working[end]
            steps = states.step * (_LOW_STEP if end == 0 else 1.0)
            return kept + buffers.runtime[end] + max(begins, ends, steps)

        low, total, high = peak(0), peak(1), peak(2) * _FRAGMENTS
        return MemoryForecast(
            stage=setting.stage,
            offload=setting.placement.offload or "none",
            states_bytes=int(states.total),
            activations_bytes=None if setting.length is None else int(acts[1]),
            buffers_bytes=int(buffers.working[1] + buffers.runtime[1]),
            total_bytes=int(total),
            low_bytes=int(min(low, total)),
            high_bytes=int(max(high, total)),
            available_bytes=self.available_bytes,
            fits=None if self.available_bytes is None else total <= self.available_bytes,
        )

    def _activations(self, setting: Setting) -> tuple[float, float, float]:
        if setting.length is None:
            return 0.0, 0.0, 0.0
        longest = activations_of(self.model, self.trained, setting, setting.length)
        shortest = activations_of(self.model, self.trained, setting, setting.low_length or setting.length)
        by = self.calibration
        return (
            activations.low(shortest) * (by.low if by else 1.0),
            longest.total * (by.factor if by else 1.0),
            activations.high(longest) * (by.high if by else 1.0),
        )

    def placed(self, placement: Placement) -> MemoryForecast:
        """The job at another stage or offload."""
        return self.at(dataclasses.replace(self.setting, placement=placement))

    @property
    def host(self) -> HostMemory:
        """One host, as submitted."""
        return self.host_at(self.setting)

    def host_at(self, setting: Setting) -> HostMemory:
        """One host, for a variant."""
        states = states_of(setting, num_parameters=self.trained.total, num_trainable=self.trained.trainable)
        return host_of(self.trained, states, setting)

    def largest_micro_batch(self, setting: Setting | None = None) -> int | None:
        """The largest micro-batch whose expected peak fits; 0 where not even one row does; None: not known."""
        setting = setting or self.setting
        if self.available_bytes is None or setting.length is None:
            return None

        def fits(size: int) -> bool:
            return bool(self.at(dataclasses.replace(setting, micro_batch_size=size)).fits)

        least, most = 0, 1
        while most <= _LARGEST_MICRO_BATCH and fits(most):
            least, most = most, 4 * most
        while most - least > 1:
            middle = (least + most) // 2
            least, most = (middle, most) if fits(middle) else (least, middle)
        return least

    def placements(self) -> Iterator[Placement]:
        """What is compared: each stage, offload of the higher ones, and what was submitted."""
        given = self.setting.placement
        yield from sorted({*_COMPARED, given}, key=lambda p: (p.stage, len(p.offload or "")))

    def report(self) -> MemoryReport:
        """Every stage, as the wire has it."""
        return MemoryReport(
            stages=[self.placed(placement) for placement in self.placements()],
            host_bytes=int(self.host.expected),
            largest_micro_batch_size=self.largest_micro_batch(),
            calibrated_on=self.calibration.words if self.calibration else None,
        )
