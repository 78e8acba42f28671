"""M107."""

import dataclasses

import pytest
from tests.unit.rules.factory import check, data, ds_config, evidence, row, training

from hotfire.patch import apply_patch
from hotfire.rules.evidence import Environment, Evidence, ModelFacts, Outcome, Role, Severity, Trial
from hotfire.rules.model import WillNotFit
from hotfire.rules.model.memory_job import forecaster_of, memory_report
from hotfire.static import static_evidence
from hotfire.v1 import spec_pb2
from hotfire.wire import message_from_dict

RULE = WillNotFit()
GIB = 2**30
LLAMA_7B = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
}  # fmt: skip


def given(
    *,
    gib: float | None = 80,
    gpus: int | None = 8,
    stage: int = 2,
    model=LLAMA_7B,
    zero=None,
    cluster=None,
    more=None,
    **arguments,
) -> Evidence:
    config = ds_config(stage=stage, **(more or {}))
    config["zero_optimization"] |= zero or {}
    memory = {} if gib is None else {"gpu_memory_bytes": str(int(gib * GIB))}
    spec = message_from_dict(
        {
            "deepspeed": {"config": config},
            "training": training(**({"max_length": 2048, "gradient_checkpointing": True} | arguments)),
            "cluster": ({"num_gpus": gpus} if gpus else {}) | memory | (cluster or {}),
        },
        spec_pb2.PreflightSpec,
    )
    return static_evidence(spec, model_config=model)


def test_bad_states_alone_are_too_large() -> None:
    (finding,), _ = check(RULE, given(gib=24))
    assert finding.severity is Severity.ERROR
    assert finding.location.config_path == "/deepspeed/zero_optimization"
    assert "and there are 24.0 GiB: it will not fit." in finding.message
    assert "states 23.5 GiB" in finding.message
    assert finding.evidence["low_bytes"] > 24 * GIB
    assert [(o.path, o.value) for o in finding.fix.patch] == [("/deepspeed/zero_optimization/stage", 3)]


def test_the_fix_is_the_smallest_and_fits_by_the_same_forecast() -> None:
    bad = given(gib=40, per_device_train_batch_size=16, gradient_checkpointing=False)
    bad.config.given["train_micro_batch_size_per_gpu"] = bad.spec["deepspeed"][
        "train_micro_batch_size_per_gpu"
    ] = 16
    bad.config.effective["train_micro_batch_size_per_gpu"] = 16
    (finding,), _ = check(RULE, bad)
    fixed = apply_patch(bad.spec, finding.fix.patch)
    again = given(
        gib=40,
        per_device_train_batch_size=fixed["training"]["per_device_train_batch_size"],
        gradient_checkpointing=fixed["training"].get("gradient_checkpointing", False),
        stage=fixed["deepspeed"]["zero_optimization"]["stage"],
    )
    micro = fixed["deepspeed"]["train_micro_batch_size_per_gpu"]
    again.config.effective["train_micro_batch_size_per_gpu"] = micro
    assert (micro, fixed["deepspeed"]["gradient_accumulation_steps"]) == (
        fixed["training"]["per_device_train_batch_size"],
        fixed["training"]["gradient_accumulation_steps"],
    )
    # The same optimizer step.
    assert micro * fixed["deepspeed"]["gradient_accumulation_steps"] == 16 * 2
    assert check(RULE, again)[0] == []


def test_one_change_is_enough_where_one_is() -> None:
    (finding,), _ = check(RULE, given(gradient_checkpointing=False, per_device_train_batch_size=2, gib=48))
    assert len({o.path.split("/")[-1] for o in finding.fix.patch}) <= 4
    assert "recomputed" in finding.alternatives[0].description or "recomputed" in finding.fix.description


def test_a_band_that_straddles_is_a_warning() -> None:
    forecast = forecaster_of(given()).at()
    middle = (forecast.low_bytes + forecast.high_bytes) / 2 / GIB
    (finding,), _ = check(RULE, given(gib=middle))
    assert finding.severity is Severity.WARNING
    assert "Lowered to a warning" in finding.message


def test_good() -> None:
    findings, outcome = check(RULE, given(gib=80))
    assert (findings, outcome.outcome) == ([], Outcome.PASSED)
    assert check(RULE, given(gib=24, peft={"r": 16, "target_modules": "all-linear"}))[0] == []


def test_no_patch_where_only_more_gpus_help() -> None:
    (finding,), _ = check(RULE, given(gib=6, gpus=2, cluster={"host_memory_bytes": str(16 * GIB)}))
    assert finding.fix.patch == []
    assert "such GPUs" in finding.fix.description


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gib": None}, "cluster.gpu_memory_bytes is not given"),
        ({"gpus": None}, "cluster.num_gpus is not given"),
        ({"model": None}, "the model's config.json was not given"),
        ({"model": {"model_type": "mamba"}}, "the architecture 'mamba' is not in the table"),
        ({"model": LLAMA_7B | {"quantization_config": {"quant_method": "gptq"}}}, "quantised (gptq)"),
        ({"cluster": {"data_parallel_size": 2}}, "other parallelism divides the model"),
        ({"more": {"sequence_parallel_size": 4}}, "sequence_parallel_size 4 divides the rows"),
        ({"more": {"tensor_parallel": {"autotp_size": 2}}}, "autotp_size 2 divides the weights"),
        ({"peft": {"peft_type": "IA3"}}, "type IA3"),
        ({"max_length": None}, "training.max_length is not given"),
    ],
)
def test_what_is_not_known_is_skipped_with_the_reason(changes, reason) -> None:
    changes = {k: v for k, v in changes.items() if k != "max_length"} | (
        {"max_length": 0} if "max_length" in changes else {}
    )
    findings, outcome = check(RULE, given(**changes))
    assert findings == []
    assert outcome.outcome is Outcome.SKIPPED
    assert reason in outcome.reason


def test_states_that_are_too_large_need_no_length() -> None:
    (finding,), _ = check(RULE, given(gib=16, max_length=0))
    assert finding.severity is Severity.ERROR


def test_rows_that_are_short_are_not_taken_for_long_ones() -> None:
    """A limit of 32768 and rows of 40 tokens: no error, the high end says what a longer row would take."""
    bad = given(gib=80, max_length=32768, gradient_checkpointing=False)
    assert check(RULE, bad)[0][0].severity is Severity.ERROR
    bad.data = data([row(n) for n in range(1, 9)], max_length=32768)
    assert check(RULE, bad)[0][0].severity is Severity.WARNING


# --- Measured peaks ---------------------------------------------------------------------------------------


def with_trial(peak_gib: float, *, device: str) -> Evidence:
    base = given()
    base.data = data([row(n, num_tokens=2048) for n in range(1, 9)], max_length=2048)
    base.model = ModelFacts(config=LLAMA_7B, num_layers=32, num_layers_run=2)
    base.environment = Environment(device=device)
    seen = evidence().trials[0]
    base.trials = [
        Trial(
            name="candidate", role=Role.CANDIDATE, stage=2, num_ranks=2, completed=True, dtype="bf16",
            effective_config=base.config.effective, peak_memory_bytes=int(peak_gib * GIB), steps=seen.steps,
        )
    ]  # fmt: skip
    return base


def test_a_gpu_peak_corrects_the_activations() -> None:
    low, high = (forecaster_of(with_trial(gib, device="NVIDIA H100")) for gib in (8.0, 14.0))
    assert low.calibration.factor < high.calibration.factor
    assert low.at().total_bytes < high.at().total_bytes
    bare = forecaster_of(dataclasses.replace(with_trial(14.0, device="NVIDIA H100"), trials=None))
    width = (high.at().high_bytes - high.at().low_bytes) / high.at().activations_bytes
    assert width < (bare.at().high_bytes - bare.at().low_bytes) / bare.at().activations_bytes
    assert memory_report(with_trial(14.0, device="NVIDIA H100")).calibrated_on.startswith(
        "trial 'candidate' on GPU (stage 2, 2 ranks): 14.00 GiB measured"
    )


def test_a_cpu_peak_only_widens_the_band() -> None:
    bare = forecaster_of(given()).at()
    for gib in (2.0, 40.0):
        one = forecaster_of(with_trial(gib, device="cpu")).at()
        assert one.total_bytes == bare.total_bytes
        assert one.high_bytes >= bare.high_bytes
    assert forecaster_of(with_trial(40.0, device="cpu")).at().high_bytes > bare.high_bytes
    small = forecaster_of(with_trial(0.1, device="cpu"))
    assert small.calibration.words.endswith("too small to correct anything by")
