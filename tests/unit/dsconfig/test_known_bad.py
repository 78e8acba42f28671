"""The version table and its reader."""

from __future__ import annotations

from typing import Any

import pytest

from hotfire.dsconfig import effective
from hotfire.dsconfig.known_bad import TABLE, KnownBad, Setting, first_good, known_bad, setting_of
from hotfire.dsconfig.versions import parse
from hotfire.patch import apply_patch
from hotfire.rules.config.common import put


def setting(config: dict[str, Any], training: dict[str, Any] | None = None, world_size: int = 8) -> Setting:
    arguments = {"loop": "TRAINER"} | (training or {})
    resolved = effective.resolve(
        config, training=arguments, loop=arguments["loop"], model_config=None, world_size=world_size
    )
    return setting_of(resolved.config, given=config, training=arguments, world_size=world_size)


def config(stage: int, accumulation: int = 2, precision: str = "bf16", **zero: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 2,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": stage, **zero},
    }
    if precision != "fp32":
        given[precision] = {"enabled": True}
    return given


def ids(entries: list[KnownBad], *, told: bool = True) -> set[str]:
    return {entry.id for entry in entries if entry.told_by_config or not told}


OFFLOAD = {"offload_optimizer": {"device": "cpu"}}


# Each row of failures.md §0.2 and of zero_cases.md, "Versions", with its neighbours on both sides.
@pytest.mark.parametrize(
    ("job", "bad", "good", "fault"),
    [
        (setting(config(2)), ["0.17.6", "0.18.0", "0.18.2"], ["0.17.5", "0.18.3"], "last-micro-batch-only"),
        (
            setting(config(0), {"loop": "DEEPSPEED"}),
            ["0.17.6", "0.18.2", "0.18.5"],
            ["0.17.5", "0.18.6"],
            "stage0-bf16-never-zeroed",
        ),
        (setting(config(0)), ["0.17.6", "0.18.5"], ["0.17.5", "0.18.6"], "stage0-bf16-norm-times-scale"),
        (
            setting(config(0, precision="fp16")),
            ["0.18.3", "0.19.0", "0.19.8"],
            ["0.18.2", "0.17.6"],
            "stage0-fp16-loss-not-scaled",
        ),
        (
            setting(config(0, precision="fp16") | {"optimizer": {"type": "AdamW"}}),
            ["0.17.6", "0.18.1"],
            ["0.17.5", "0.18.2"],
            "stage0-fp16-step-returns-early",
        ),
        (
            setting(config(2, 4, **OFFLOAD)),
            ["0.15.2", "0.18.2", "0.18.9"],
            ["0.15.1", "0.19.0"],
            "offload-drops-micro-batches",
        ),
        (
            setting(config(1, contiguous_gradients=False)),
            ["0.15.4", "0.16.5", "0.18.2", "0.19.7"],
            ["0.19.8"],
            "non-contiguous-accumulation",
        ),
        (
            setting(config(1) | {"data_types": {"grad_accum_dtype": "fp32"}}),
            ["0.18.6", "0.18.9"],
            ["0.18.5", "0.19.0"],
            "bf16-optimizer-last-micro-batch-not-averaged",
        ),
        (setting(config(2)), ["0.18.3"], ["0.18.2", "0.18.4"], "trainer-divides-by-accumulation-again"),
        (
            setting(config(1), {"loop": "DEEPSPEED"}),
            ["0.18.3", "0.19.0", "0.19.4"],
            ["0.18.2", "0.19.6"],
            "every-output-divided-by-accumulation",
        ),
        (setting(config(1)), ["0.13.2", "0.16.5"], ["0.13.1", "0.16.6"], "inf-norm-becomes-nan-weights"),
        (
            setting(config(2, precision="fp16")),
            ["0.15.4", "0.16.5"],
            ["0.17.5", "0.17.6"],
            "fp16-scale-starts-too-high",
        ),
        (
            setting(config(3), {"peft": {"r": 8}}),
            ["0.19.2"],
            ["0.19.1", "0.19.3"],
            "stage3-lora-gather-dtype",
        ),
        (setting(config(1, overlap_comm=True)), ["0.14.2"], ["0.14.3"], "ipg-buffer-overwritten"),
        (setting(config(2)), ["0.12.4", "0.13.5"], ["0.12.3", "0.14.3"], "multi-rank-bucket"),
        (setting(config(2, overlap_comm=True)), ["0.15.4", "0.16.7"], ["0.17.5"], "double-buffer-swap"),
        (setting(config(2, overlap_comm=True)), ["0.18.9"], ["0.19.0"], "overlap-buffer-freed-early"),
        (
            setting(config(2, overlap_comm=True), {"torch_compile": True}),
            ["0.19.2"],
            ["0.19.3"],
            "compiled-producers-on-several-streams",
        ),
        (setting(config(3)), ["0.18.7"], ["0.18.8"], "stage3-waits-for-the-wrong-stream"),
        (setting(config(2)), ["0.18.3", "0.19.4"], ["0.18.2", "0.19.6"], "module-used-twice"),
        (setting(config(2, 1, **OFFLOAD)), ["0.18.3"], ["0.18.2", "0.19.0"], "offload-several-backwards"),
        (setting(config(3)), ["0.17.6", "0.18.2"], ["0.17.5", "0.19.8"], "stage3-weights-garbage-as-loaded"),
        (setting(config(2)), ["0.18.2"], ["0.19.3"], "bf16-overflow-unchecked"),
        (setting(config(2)), ["0.19.6"], ["0.19.7"], "nan-norm-printed-as-a-root"),
        (
            setting(config(2) | {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 10}}}),
            ["0.18.2"],
            ["0.19.4"],
            "groups-share-the-first-rate",
        ),
    ],
)
def test_a_fault_holds_from_its_first_release_to_its_fix(
    job: Setting, bad: list[str], good: list[str], fault: str
) -> None:
    for version in bad:
        assert fault in ids(known_bad(job, {"deepspeed": version, "torch": "2.13.0+cpu"}), told=False), (
            version
        )
    for version in good:
        assert fault not in ids(known_bad(job, {"deepspeed": version, "torch": "2.13.0+cpu"}), told=False), (
            version
        )


@pytest.mark.parametrize(
    ("job", "fault"),
    [
        (setting(config(2, 1)), "last-micro-batch-only"),  # nothing to accumulate
        (setting(config(1)), "last-micro-batch-only"),
        (setting(config(0)), "stage0-bf16-never-zeroed"),  # the Trainer zeroes them
        (setting(config(2, **OFFLOAD)), "last-micro-batch-only"),
        (setting(config(2, 2, **OFFLOAD)), "offload-drops-micro-batches"),  # the first and the last are kept
        (setting(config(2, overlap_comm=True), world_size=1), "overlap-buffer-freed-early"),
        (setting(config(2)), "overlap-buffer-freed-early"),  # off by default below stage 3
        (
            setting(config(0, precision="fp16") | {"fp16": {"enabled": True, "loss_scale": 1}}),
            "stage0-fp16-loss-not-scaled",
        ),
    ],
)
def test_what_a_fault_needs_is_needed(job: Setting, fault: str) -> None:
    for version in ("0.15.4", "0.17.6", "0.18.2", "0.18.3", "0.19.8"):
        assert fault not in ids(known_bad(job, {"deepspeed": version}), told=False)


def test_a_fault_of_two_libraries_needs_both() -> None:
    fault = "stage3-waits-for-the-wrong-stream"
    job = setting(config(3))
    assert fault in ids(known_bad(job, {"deepspeed": "0.18.2", "torch": "2.10.0"}))
    assert fault not in ids(known_bad(job, {"deepspeed": "0.18.2", "torch": "2.9.1"}))
    assert fault not in ids(known_bad(job, {"deepspeed": "0.18.2"}))


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_current_release_has_nothing_against_usual_jobs(
    stage: int, accumulation: int, precision: str
) -> None:
    for zero in ({}, {"overlap_comm": True}, OFFLOAD):
        job = setting(config(stage, accumulation, precision, **zero), {"peft": {"r": 8}})
        assert ids(known_bad(job, {"deepspeed": "0.19.8", "torch": "2.13.0"})) == set()


def test_nothing_is_known_without_a_version() -> None:
    assert known_bad(setting(config(2)), {"torch": "2.13.0"}) == []


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.id)
def test_an_entry_is_well_formed(entry: KnownBad) -> None:
    if entry.first_bad and entry.fixed_in:
        assert parse(entry.first_bad) < parse(entry.fixed_in)
    assert entry.source
    assert entry.path.startswith("/")
    assert not entry.what.endswith(".")
    assert [e.id for e in TABLE].count(entry.id) == 1


WORKED_AROUND = [
    (setting, config(2, 2, contiguous_gradients=False, overlap_comm=True), "0.16.5"),
    (setting, config(2, precision="fp16", overlap_comm=True), "0.13.5"),
    (setting, config(0, precision="fp16"), "0.19.8"),
]


@pytest.mark.parametrize(("make", "given", "version"), WORKED_AROUND)
def test_a_workaround_keeps_its_fault_out(make: Any, given: dict[str, Any], version: str) -> None:
    entries = [e for e in known_bad(make(given), {"deepspeed": version}) if e.workaround]
    assert entries
    for entry in entries:
        document = {"deepspeed": given}
        for pointer, value in entry.workaround.items():
            document = apply_patch(document, put(document["deepspeed"], pointer, value))
        assert entry not in known_bad(make(document["deepspeed"]), {"deepspeed": version})


def test_the_upgrade_is_the_nearest_release_that_is_good_for_this_job() -> None:
    plain, overlapping = setting(config(2)), setting(config(2, overlap_comm=True))
    assert first_good(plain, {"deepspeed": "0.18.2"}) == "0.18.4"  # 0.18.3 has a fault of its own
    assert first_good(overlapping, {"deepspeed": "0.18.2"}) == "0.19.0"
    assert first_good(plain, {"deepspeed": "0.17.6"}, among=["0.19.8", "0.18.2", "0.17.5"]) == "0.19.8"
    assert first_good(plain, {"deepspeed": "0.17.6"}, among=["0.18.2", "0.17.5"]) is None
    assert first_good(setting(config(0, precision="fp16")), {"deepspeed": "0.18.3"}) is None
