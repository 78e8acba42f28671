"""Budget, slots, settings, jobs, patches, run directories: each in a few lines."""

from __future__ import annotations

import fcntl
import os

import pytest
from scripted import CONFIG, settings, spec

from hotfire.rules.evidence import PatchOperation, Plan, TrialRequest
from hotfire_workers import plan, rundir
from hotfire_workers.budget import Budget
from hotfire_workers.devices import Gpu, _visible, available_bytes, memory_bytes
from hotfire_workers.job import job_of, merged, patched
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.slots import SlotLocks, find_slots


def op(path, value=None, kind="replace"):
    return PatchOperation(op=kind, path=path, value=value)


# --- Budget -----------------------------------------------------------------------------------------------


def test_the_budget_begins_with_the_first_preparation():
    now = [100.0]
    budget = Budget(10, clock=lambda: now[0])
    now[0] = 500.0
    assert budget.remaining_s == 10
    budget.start()
    now[0] = 504.0
    assert budget.remaining_s == 6
    budget.took(4)
    assert budget.allows_another()
    now[0] = 507.0
    assert not budget.allows_another()
    assert budget.needed_s is None
    budget.missed("fix-1")
    budget.missed("fix-1")
    assert (budget.not_run, budget.is_short) == (["fix-1"], True)
    assert budget.needed_s > 10


# --- Slots ------------------------------------------------------------------------------------------------


def test_a_cpu_is_one_slot_unless_said_otherwise(tmp_path):
    (slot,) = find_slots(settings(tmp_path))
    assert (slot.device, slot.default_ranks, slot.env) == ("cpu", 2, {})
    assert [s.memory_bytes for s in find_slots(settings(tmp_path, slots=2, memory_bytes=100))] == [50, 50]


def test_gpus_are_divided_by_uuid(tmp_path, monkeypatch):
    found = [Gpu(uuid=f"GPU-{n}", name="H100", memory_bytes=80) for n in range(4)]
    monkeypatch.setattr("hotfire_workers.devices.gpus", lambda: found)
    first, second = find_slots(settings(tmp_path, device="auto", devices_per_slot=2))
    assert (first.gpus, second.gpus) == (("GPU-0", "GPU-1"), ("GPU-2", "GPU-3"))
    assert second.env["CUDA_VISIBLE_DEVICES"] == "GPU-2,GPU-3"
    assert (first.default_ranks, first.max_ranks, first.gpu_memory_bytes) == (2, 2, 80)
    with pytest.raises(ValueError, match="DEVICES_PER_SLOT"):
        find_slots(settings(tmp_path, device="cuda", devices_per_slot=8))
    monkeypatch.setattr("hotfire_workers.devices.gpus", list)
    with pytest.raises(ValueError, match="shows no GPU"):
        find_slots(settings(tmp_path, device="cuda"))


def test_an_inherited_mask_is_kept():
    found = [Gpu(uuid=f"GPU-{n}ab", name="H100", memory_bytes=80) for n in range(3)]
    assert _visible(found, None) == found
    assert _visible(found, "2,0") == [found[2], found[0]]
    assert _visible(found, "GPU-1") == [found[1]]
    assert _visible(found, "1,-1,0") == [found[1]]
    assert _visible(found, "") == []


def test_a_slot_is_held_by_one(tmp_path):
    locks, others = SlotLocks(tmp_path, 2), SlotLocks(tmp_path, 2)
    with locks.hold() as first, others.hold() as second:
        assert {first, second} == {0, 1}
        assert locks.num_held() == 2
        with pytest.raises(RuntimeError, match="in use"), locks.hold():
            pass
    assert locks.num_held() == 0


def test_the_machine_has_memory():
    assert 0 < available_bytes() <= memory_bytes()


# --- Settings ---------------------------------------------------------------------------------------------


def test_settings_read_lists_in_both_forms(monkeypatch):
    monkeypatch.setenv("HOTFIRE_WORKER_ALLOWED_ROOTS", '["/a", "/b/../c"]')
    monkeypatch.setenv("HOTFIRE_WORKER_ALLOWED_URI_SCHEMES", "file:s3")
    read = WorkerSettings()
    assert (read.allowed_roots, read.allowed_uri_schemes) == (["/a", "/c"], ["file", "s3"])


def test_the_cache_is_where_everybody_looks(monkeypatch, tmp_path):
    monkeypatch.delenv("HOTFIRE_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOTFIRE_CACHE", str(tmp_path))
    assert WorkerSettings().cache_dir == tmp_path


# --- Jobs and patches -------------------------------------------------------------------------------------


def test_a_job_without_a_loop_is_the_trainers_and_the_document_is_left_alone(tmp_path):
    job = job_of(spec(tmp_path))
    assert job.loop == "TRAINER"
    assert job.training["loop"] == "TRAINER"
    assert "loop" not in job.evidence.spec["training"]


def test_a_patch_makes_another_job(tmp_path):
    job = job_of(spec(tmp_path, training={"learning_rate": 1e-3, "logging_steps": 5}))
    patch = [
        op("/deepspeed/zero_optimization/stage", 3),
        op("/training/max_length", 704, "add"),
        op("/training/save_steps", 7, "add"),
        op("/data/role_mapping", {"human": "user"}, "add"),
    ]
    other = patched(job, patch)
    assert other.given["zero_optimization"]["stage"] == 3
    assert other.training == job.training | {"max_length": 704, "save_steps": 7}
    assert dict(other.spec.data.role_mapping) == {"human": "user"}
    assert len(other.spec.data.rows) == len(job.spec.data.rows) == 20
    assert other.patch == patch
    assert job.given == CONFIG


def test_patches_are_merged_the_earlier_wins():
    one, two = [op("/training/a", 1), op("/training/b", 2)], [op("/training/b", 3), op("/training/c", 4)]
    assert [(o.path, o.value) for o in merged([one, two])] == [
        ("/training/a", 1),
        ("/training/b", 2),
        ("/training/c", 4),
    ]


def test_a_merged_patch_changes_no_place_twice():
    one, two = (
        [op("/deepspeed/fp16/loss_scale", kind="remove")],
        [op("/deepspeed/fp16", {}), op("/deepspeed/fp16x", 1)],
    )
    assert [o.path for o in merged([one, two])] == ["/deepspeed/fp16/loss_scale", "/deepspeed/fp16x"]


def test_the_reference_does_not_hang_on_the_loss_scale():
    def request(**fp16):
        config = {"fp16": {"enabled": True, **fp16}, "zero_optimization": {"stage": len(fp16)}}
        return TrialRequest(
            name="r", role="REFERENCE", run_dir="", prepared_dir="", model={}, training={}, deepspeed=None,
            reference_config=config, loop="TRAINER", num_ranks=2,
        )  # fmt: skip

    assert plan.reference_key(request(loss_scale=8)) == plan.reference_key(request())
    assert plan.effective_key(request(loss_scale=8)) != plan.effective_key(request())
    assert plan.reference_key(request(enabled=False)) != plan.reference_key(request())


def test_another_stage_goes_without_what_only_stage_3_knows(tmp_path):
    zero = {"stage": 3, "offload_param": {"device": "cpu"}}
    document = job_of(spec(tmp_path, deepspeed=CONFIG | {"zero_optimization": zero})).evidence.spec
    assert [(o.op, o.path.rpartition("/")[2]) for o in plan.stage_patch(document, 1)] == [
        ("replace", "stage"),
        ("remove", "offload_param"),
    ]
    assert [o.op for o in plan.stage_patch({"deepspeed": {}}, 1)] == ["add"]


def test_which_stages_are_compared():
    assert plan.stages_to_compare(Plan(), 2, is_wrong=False) == []
    assert plan.stages_to_compare(Plan(), 2, is_wrong=True) == [0, 1, 3]
    assert plan.stages_to_compare(Plan(stages=[3, 2, 3]), 2, is_wrong=False) == [3]


# --- Run directories --------------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_swept(tmp_path):
    left = tmp_path / "runs" / "run-left"
    left.mkdir(parents=True)
    (left / "in-use").touch()
    alive = tmp_path / "runs" / "run-alive"
    alive.mkdir()
    descriptor = os.open(alive / "in-use", os.O_CREAT | os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with rundir.run_dir(tmp_path) as mine:
        assert not left.exists()
        assert alive.exists()
        assert mine.exists()
        assert rundir.sweep(tmp_path / "runs") == []
    assert not mine.exists()
    os.close(descriptor)
