"""What the installed DeepSpeed makes of a config: the real `DeepSpeedConfig`, schedulers, optimizers and engine.

One process, one rank, CPU. `"auto"` is filled in by transformers, as in a job of the HF Trainer.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

from benchmarks.mutations import BATCH, with_value
from hotfire.dsconfig.batch_size import MICRO

_HIDDEN_SIZE = 64
_STEPS = 100
_REFUSED = "refused"


class Verdict:
    """Asks DeepSpeed. A config is never changed.

    Where the original's optimizer or scheduler cannot be made here (a class that was taken out), they are left out
    of the question: `accepts`.
    """

    def __init__(self, world_size: int = 1) -> None:
        """Imports DeepSpeed, which takes some seconds.

        Args:
            world_size: Data-parallel ranks that DeepSpeed is told.
        """
        from deepspeed.runtime import config as real

        self.world_size = world_size
        self._real = real
        self._makers: tuple[Callable[[Any], None], ...] = (_make_scheduler, _make_optimizer)

    def accepts(self, config: dict[str, Any]) -> bool:
        """Whether DeepSpeed reads this original; what it cannot make of it here is not asked about any more."""
        self._makers = ()
        if self.answer(config)[0] == _REFUSED:
            return False
        makers = []
        for maker in (_make_scheduler, _make_optimizer):
            self._makers = (maker,)
            if self.answer(config)[0] != _REFUSED:
                makers.append(maker)
        self._makers = tuple(makers)
        return True

    def refusal(self, config: dict[str, Any]) -> str | None:
        """Why DeepSpeed refuses the config, when it reads it or when it makes optimizer and scheduler."""
        answer = self.answer(config)
        return str(answer[1]) if answer[0] == _REFUSED else None

    def answer(self, config: dict[str, Any]) -> tuple[str, Any]:
        """("refused", why), or ("taken", everything that DeepSpeed read out of it).

        `config` is read as it is: fill in "auto" first.
        """
        config = copy.deepcopy(config)
        try:
            with quiet(), self._ranks():
                parsed = self._real.DeepSpeedConfig(config)
                for make in self._makers:
                    make(parsed)
        except Exception as error:  # noqa: BLE001 - whatever it raises is its refusal
            return _REFUSED, f"{type(error).__name__}: {error}"
        read = {name: _plain(value) for name, value in vars(parsed).items() if name != "_param_dict"}
        return "taken", read

    def reads(self, config: dict[str, Any], pointer: str) -> bool:
        """Whether a value at this place makes a difference to DeepSpeed: tried with other values."""
        before = self.answer(config)
        return any(self.answer(with_value(config, pointer, probe)) != before for probe in _PROBES)

    @contextlib.contextmanager
    def _ranks(self) -> Iterator[None]:
        dist = self._real.dist
        with (
            mock.patch.object(dist, "get_rank", return_value=0),
            mock.patch.object(dist, "get_world_size", return_value=self.world_size),
        ):
            yield


_PROBES = (True, False, 7, "cpu", "probe", {"probe": 1}, ["probe"], None)


def fill(config: dict[str, Any], world_size: int, *, launched: bool = False) -> dict[str, Any]:
    """The config with "auto" filled in by transformers, from arguments that agree with what is literal in it.

    Args:
        config: As it stands in the file; not changed.
        world_size: Data-parallel ranks.
        launched: A launcher adds the micro batch, as the file has no batch size.
    """
    from transformers.integrations import deepspeed as integration

    class Filler(integration.HfTrainerDeepSpeedConfig):  # type: ignore[misc]  # its base is untyped
        """Fills "auto", and does not compare literal values with these made-up arguments."""

        def fill_match(self, name: str, value: Any, *_: Any, **__: Any) -> None:
            super().fill_match(name, value, must_match=False)

    # accelerate's loader wants a zero_optimization section; without one the filling is the same.
    filler = Filler({"zero_optimization": {}, **copy.deepcopy(config)})
    filler.trainer_config_process(_arguments(config, world_size))
    model = SimpleNamespace(config=SimpleNamespace(hidden_size=_HIDDEN_SIZE))
    filler.trainer_config_finalize(_arguments(config, world_size), model, _STEPS)
    filled = {key: value for key, value in filler.config.items() if key in config}
    return {MICRO: 1, **filled} if launched else filled


def _arguments(config: dict[str, Any], world_size: int) -> SimpleNamespace:
    train, micro, accumulation = (_whole(config.get(key)) for key in BATCH)
    accumulation = accumulation or 1
    if micro is None:
        micro = train // world_size // accumulation if train else 1
    fp16 = _on(config.get("fp16"))
    return SimpleNamespace(
        world_size=world_size,
        per_device_train_batch_size=max(1, micro),
        gradient_accumulation_steps=accumulation,
        max_grad_norm=0.5,
        learning_rate=1e-4,
        adam_beta1=0.9,
        adam_beta2=0.98,
        adam_epsilon=1e-7,
        weight_decay=0.01,
        save_on_each_node=False,
        fp16=False,
        bf16=not fp16,
        fp16_full_eval=False,
        bf16_full_eval=False,
        get_warmup_steps=lambda _: 10,
    )


def _whole(value: Any) -> int | None:
    try:
        return int(float(value))
    except (TypeError, ValueError):
        return None


def _on(section: Any) -> bool:
    return isinstance(section, dict) and section.get("enabled") not in (False, "auto", None)


def _plain(value: Any) -> Any:
    """What can be compared of a parsed value."""
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, int | float | str | bool | None):
        return (type(value).__name__, value)
    if hasattr(value, "__dict__") and not isinstance(value, type):
        return {name: _plain(item) for name, item in vars(value).items()}
    return str(value)


def _make_scheduler(parsed: Any) -> None:
    """As the engine's `_scheduler_from_config`."""
    import torch
    from deepspeed.runtime import lr_schedules

    name = parsed.scheduler_name
    if name is None or parsed.scheduler_params is None:
        return
    make = (
        getattr(lr_schedules, name)
        if hasattr(lr_schedules, name)
        else getattr(torch.optim.lr_scheduler, name)
    )
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))], lr=1e-4)
    make(optimizer, **parsed.scheduler_params)


def _make_optimizer(parsed: Any) -> None:
    """The engine's own method, with kernels that are not built here replaced by nothing."""
    import torch
    from deepspeed.runtime.engine import DeepSpeedEngine

    if parsed.optimizer_name is None:
        return
    device = parsed.zero_config.offload_optimizer
    engine = SimpleNamespace(
        optimizer_params=lambda: parsed.optimizer_params,
        optimizer_name=lambda: parsed.optimizer_name,
        zero_use_cpu_optimizer=lambda: device is not None and str(device.device) in ("cpu", "nvme"),
        zenflow=False,
        bf16_optimizer_states=lambda: parsed.bfloat16_config.bf16_optimizer_states,
        has_moe_layers=False,
        _muon_param_groups=DeepSpeedEngine._muon_param_groups,  # noqa: SLF001 - the real engine's own steps
    )
    engine.get_optimizer_configuration = functools.partial(
        DeepSpeedEngine.get_optimizer_configuration, engine
    )
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    parameter.use_muon = True  # type: ignore[attr-defined]  # as DeepSpeed marks them
    with _no_kernels():
        DeepSpeedEngine._configure_basic_optimizer(engine, [parameter])  # noqa: SLF001 - the real one


@contextlib.contextmanager
def _no_kernels() -> Iterator[None]:
    import cpuinfo
    from deepspeed.ops.adagrad import cpu_adagrad
    from deepspeed.ops.adam import cpu_adam, fused_adam
    from deepspeed.ops.lamb import fused_lamb
    from deepspeed.ops.lion import cpu_lion, fused_lion

    with contextlib.ExitStack() as stack:
        # DeepSpeedCPUAdam asks for it each time, through a process of its own.
        stack.enter_context(mock.patch.object(cpuinfo, "get_cpu_info", _cpu_info))
        for module, name in (
            (fused_adam, "FusedAdamBuilder"),
            (cpu_adam, "CPUAdamBuilder"),
            (cpu_adagrad, "CPUAdagradBuilder"),
            (fused_lion, "FusedLionBuilder"),
            (cpu_lion, "CPULionBuilder"),
            (fused_lamb, "FusedLambBuilder"),
        ):
            stack.enter_context(mock.patch.object(module, name))
        yield


@functools.cache
def _cpu_info() -> dict[str, Any]:
    return {"vendor_id_raw": "unknown"}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
