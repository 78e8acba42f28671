"""The hook around a DeepSpeed engine's optimizer step."""

from __future__ import annotations

from typing import Any

from hotfire_workers.train.loops.recorder import StepRecorder
from hotfire_workers.train.probes.steps import StepProbe


def hook_engine(engine: Any, probe: StepProbe, recorder: StepRecorder) -> None:
    """Wraps `engine._take_model_step` on this engine.

    The engine calls it once per accumulation boundary, when the gradients are reduced and neither clipped nor
    unscaled: the one place where they can be measured at every stage, in the Trainer and in a loop of one's
    own. (Its signature differs between versions.)
    """
    take_model_step = engine._take_model_step  # noqa: SLF001
    recorder.context.faults.on_engine(engine)

    def forward(batch: dict[str, Any]) -> Any:
        return engine.module(**batch)

    def measured(*args: Any, **kwargs: Any) -> Any:
        recorder.writer.doing = "step"
        recorder.fields |= probe.before_step(non_finite_loss=recorder.non_finite_loss)
        if probe.some_loss_not_finite:
            recorder.find_module(engine.module, forward)
        result = take_model_step(*args, **kwargs)
        recorder.fields |= probe.after_step(
            applied=bool(engine.was_step_applied()), grad_norm=scalar(engine.get_global_grad_norm())
        )
        return result

    engine._take_model_step = measured  # noqa: SLF001


def scalar(value: Any) -> float | None:
    """A number out of a tensor, a number, or a string (what the Trainer prints); None stays None."""
    if value is None:
        return None
    return float(value.item() if hasattr(value, "item") else value)
