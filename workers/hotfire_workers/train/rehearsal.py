"""What the warm process does once, so that no rank has to: load the communication op, take one tiny step."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from hotfire_workers.train import extensions, libraries
from hotfire_workers.train.imports import Environment

COMM_BUILDER = "ShareMemCommBuilder"
"""DeepSpeed's builder of the op that `init_distributed` loads on a CPU."""


def preload_ops(environment: Environment, also_look_at: list[Path]) -> dict[str, Any]:
    """Load what every rank's `init_distributed` would load; forked ranks inherit it.

    CPU only: on a GPU the probes of the op builders would initialise the driver, and a process with a CUDA
    context cannot be forked.

    Args:
        environment: Whose extensions to load.
        also_look_at: More extension directories to search for stale locks: those that the user's jobs use.

    Returns:
        {"loaded": op names, "extension_lock": path of a stale lock or None, "notes": texts}.
    """
    report: dict[str, Any] = {"loaded": [], "extension_lock": None, "notes": []}
    for lock in {
        lock for place in [environment.extensions, *also_look_at] for lock in extensions.stale_locks(place)
    }:
        if environment.owns_extensions and lock.is_relative_to(environment.extensions):
            lock.unlink(missing_ok=True)
            report["notes"].append(f"removed {lock}, left by a build that was killed")
        else:
            report["extension_lock"] = str(lock)
            report["notes"].append(extensions.lock_message(lock))
    if os.environ.get("DS_ACCELERATOR") != "cpu":
        return report
    import deepspeed.ops
    from deepspeed.accelerator import get_accelerator

    _ = deepspeed.ops.__compatible_ops__  # probes every builder once: 0.05 s that each rank would pay
    builder = get_accelerator().create_op_builder(COMM_BUILDER)
    if builder is None or not builder.is_compatible(verbose=False):
        report["notes"].append(f"{COMM_BUILDER} cannot be built here")
        return report
    is_built = extensions.is_built(environment.extensions, builder.name)
    if not is_built and libraries.current() is None:
        report["notes"].append(f"{builder.name} is not built: run `python -m hotfire_workers.train.setup`")
        return report
    started = time.monotonic()
    # For a set that no set-up has seen it is built here (30 to 60 s): in the ranks it would look like a hang.
    try:
        builder.load(verbose=False)
    except Exception as error:  # noqa: BLE001  a missing compiler is the usual one; the ranks will say the same
        report["notes"].append(f"could not build {builder.name}: {error}")
        return report
    report["loaded"].append(builder.name)
    if not is_built:
        report["notes"].append(f"built {builder.name} in {time.monotonic() - started:.0f} s")
    return report


def take_one_step() -> None:
    """Forward, backward, clip and AdamW of a tiny GLM: first uses are slow. No process group.

    CPU only. Where torch sees a GPU, the first `backward` of a process starts one autograd thread per GPU, and
    `AdamW.step` asks for the current stream (torch 2.13, optim/optimizer.py,
    `_accelerator_graph_capture_health_check`): after either, this process must not be forked.
    """
    if os.environ.get("DS_ACCELERATOR", "cpu") != "cpu":
        return
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "glm",
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.arange(8).unsqueeze(0)
    model(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def build_conversion_mapping() -> None:
    """Build transformers' table of how the checkpoints of each architecture are renamed.

    `from_pretrained` builds it anew in every process, for all architectures, some 2,000 regular expressions: most of
    what loading a small model costs (transformers 5.23, conversion_mapping.py). Older versions have none.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from transformers import conversion_mapping

        conversion_mapping.get_checkpoint_conversion_mapping("")


def threads() -> list[str]:
    """Names of this process's OS threads. `threading.active_count()` would see only Python's."""
    return [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]


def holds_cuda() -> bool:
    """A CUDA context exists here: torch says so, or the driver's memory device is open."""
    import torch

    if torch.cuda.is_initialized():
        return True
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists the folder is closed by now
            if str(descriptor.readlink()).startswith("/dev/nvidia-uvm"):
                return True
    return False
