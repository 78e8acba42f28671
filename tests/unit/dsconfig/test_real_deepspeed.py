"""The key table and the walk over it, against DeepSpeed itself where it is installed."""

import copy
import logging
import random

import pytest

from hotfire.dsconfig import effective, schema
from hotfire.dsconfig.inspection import inspect
from hotfire.dsconfig.versions import KNOWN, parse

deepspeed = pytest.importorskip("deepspeed")
pytestmark = pytest.mark.skipif(
    deepspeed.__version__.split("+")[0] != KNOWN, reason=f"the newest known DeepSpeed is {KNOWN}"
)
NEWEST = parse(KNOWN)


@pytest.fixture(scope="module", autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def models():
    from deepspeed.comm.config import CommsLoggerConfig
    from deepspeed.compile.config import CompileConfig
    from deepspeed.inference.config import WeightQuantConfig
    from deepspeed.monitor.config import CometConfig, CSVConfig, TensorBoardConfig, WandbConfig
    from deepspeed.runtime import precision_config
    from deepspeed.runtime.config import HybridEngineConfig
    from deepspeed.runtime.tensor_parallel.config import TPConfig, TPTrainingConfig
    from deepspeed.runtime.zenflow.zenflow_config import ZenFlowConfig
    from deepspeed.runtime.zero import config as zero
    from deepspeed.runtime.zero.leaf_module_config import DeepSpeedZeroLeafModuleConfig
    from deepspeed.utils.config import DeepSpeedThroughputTimerConfig

    return {
        "/fp16": precision_config.DeepSpeedFP16Config,
        "/bf16": precision_config.DeepSpeedBF16Config,
        "/zero_optimization": zero.DeepSpeedZeroConfig,
        "/zero_optimization/offload_param": zero.DeepSpeedZeroOffloadParamConfig,
        "/zero_optimization/offload_optimizer": zero.DeepSpeedZeroOffloadOptimizerConfig,
        "/zero_optimization/zenflow": ZenFlowConfig,
        "/zero_optimization/leaf_module": DeepSpeedZeroLeafModuleConfig,
        "/comms_logger": CommsLoggerConfig,
        "/compile": CompileConfig,
        "/weight_quantization": WeightQuantConfig,
        "/tensorboard": TensorBoardConfig,
        "/csv_monitor": CSVConfig,
        "/wandb": WandbConfig,
        "/comet": CometConfig,
        "/hybrid_engine": HybridEngineConfig,
        "/tensor_parallel": TPTrainingConfig,
        "/tensor_parallel/tp": TPConfig,
        "/timers/throughput": DeepSpeedThroughputTimerConfig,
    }


def test_strict_sections_have_the_models_names_defaults_and_bounds():
    for pointer, model in models().items():
        section = schema.section_at(pointer)
        ours = {name for key in section.keys if key.known(NEWEST) for name in (key.name, *key.aliases)}
        theirs = {n for name, field in model.model_fields.items() for n in (name, field.alias) if n}
        assert ours == theirs, pointer
        for name, field in model.model_fields.items():
            key = section.find(name)
            default = field.default
            if isinstance(default, bool | int | float | str) and key.kind not in ("any", "section"):
                assert key.default == default, f"{pointer}/{name}"
            bounds = {
                k: getattr(m, k) for m in field.metadata for k in ("ge", "gt", "le", "lt") if hasattr(m, k)
            }
            assert {
                k: getattr(key, k) for k in ("ge", "gt", "le", "lt") if getattr(key, k) is not None
            } == bounds, f"{pointer}/{name}"


def test_removed_keys_are_those_that_deepspeed_refuses_by_name():
    from deepspeed.runtime import config

    ours = {key.name for key in schema.ROOT.keys if key.removed is not None}
    assert ours == set(config._REMOVED_TOP_LEVEL_CONFIG_KEYS)
    zero = {key.name for key in schema.section_at("/zero_optimization").keys if key.removed is not None}
    assert zero == set(config._REMOVED_ZERO_CONFIG_KEYS)


def test_scheduler_parameters_are_those_of_the_constructors():
    import inspect as python_inspect

    from deepspeed.runtime import lr_schedules

    assert set(schema.SCHEDULERS) == set(lr_schedules.VALID_LR_SCHEDULES)
    for kind, keys in schema.SCHEDULERS.items():
        takes = set(python_inspect.signature(getattr(lr_schedules, kind).__init__).parameters)
        assert {key.name for key in keys} == takes - {"self", "optimizer"}, kind


VALUES = [
    *(
        None,
        True,
        False,
        0,
        1,
        2,
        3,
        4,
        -1,
        0.5,
        1e9,
        1e-10,
        "5e8",
        "2",
        "true",
        "maybe",
        "cpu",
        "CPU",
        "auto",
        "",
    ),
    *([], ["a"], {}, {"device": "cpu"}, {"enabled": True}, {"foo": 1}, float("inf"), float("nan"), 1e30),
]
BASES = [
    {"train_micro_batch_size_per_gpu": 2, "zero_optimization": {"stage": stage}, precision: {"enabled": True}}
    for stage in (0, 2, 3)
    for precision in ("bf16", "fp16")
]
# Looked at by other rules, or refused only where they are used (optimizer, engine, CUDA).
ELSEWHERE = (
    "/train_batch_size",
    "/train_micro_batch_size_per_gpu",
    "/gradient_accumulation_steps",
    "/gradient_clipping",
    "/gradient_predivide_factor",
    "/steps_per_print",
    "/sequence_parallel_size",
    "/vocabulary_size",
    "/optimizer",
    "/scheduler",
    "/data_types",
    "/aio/use_gds",
    "/timers",
    "/torch_autocast/lower_precision_safe_modules",
    "/expert_parallel",
    "/checkpoint/parallel_write",
    "/flops_profiler/enabled",
    "/wall_clock_breakdown",
    "/fp16/loss_scale",
    "/fp16/min_loss_scale",
    "/fp16/enabled",
    "/bf16/enabled",
    "/bf16/bf16_",
    "/bfloat16",
    "/fp16/fp16_",
)


def test_it_refuses_what_deepspeed_refuses():
    """One key changed at a time."""
    from deepspeed.runtime.config import DeepSpeedConfig

    source = random.Random(7)
    pointers = [p for p in schema.KEYS if not p.startswith(ELSEWHERE)]
    wrong = []
    for _ in range(3000):
        config = copy.deepcopy(source.choice(BASES))
        pointer, value = source.choice(pointers), copy.deepcopy(source.choice(VALUES))
        if pointer in ("/fp16", "/bf16") and isinstance(value, dict):
            continue  # both precisions on is C109's
        *sections, name = pointer.split("/")[1:]
        if source.random() < 0.1:
            name += "x"
        node = config
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
        refused = [i for i in inspect(config, None) if i.refused]
        try:
            DeepSpeedConfig(copy.deepcopy(config))
            real = None
        except Exception as error:
            real = f"{type(error).__name__}: {error}"
        if bool(refused) is not bool(real):
            wrong.append((pointer, name, value, real, [i.kind for i in refused]))
    assert wrong == []


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_the_batch_triple_is_worked_out_as_deepspeed_does(world, monkeypatch):
    from deepspeed.runtime import config as real

    monkeypatch.setattr(real.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(real.dist, "get_world_size", lambda *_: world)
    keys = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    for train in (None, 1, 6, 16, 48):
        for micro in (None, 1, 2, 5):
            for accumulation in (None, 1, 4):
                values = dict(zip(keys, (train, micro, accumulation), strict=True))
                given = {key: value for key, value in values.items() if value is not None}
                ours = effective.batch(given, {}, "DEEPSPEED", world)
                try:
                    theirs = real.DeepSpeedConfig(dict(given))
                except AssertionError:
                    assert ours.problems, (given, world)
                    continue
                assert ours.problems == [], (given, world)
                assert [ours.train, ours.micro, ours.accumulation] == [getattr(theirs, key) for key in keys]
