"""One rank from the process group to the end line."""

from __future__ import annotations

import math
import os
from datetime import timedelta
from typing import Any

from torch import distributed as dist

from hotfire.rules.evidence.request import TrialRequest
from hotfire_workers.train import heap
from hotfire_workers.train.loops import precision, products
from hotfire_workers.train.loops.batches import read_rows, short_of_rows
from hotfire_workers.train.loops.context import RankContext
from hotfire_workers.train.loops.faults import Faults
from hotfire_workers.train.loops.pace import Pace
from hotfire_workers.train.loops.remarks import Remarks
from hotfire_workers.train.probes.memory import MemoryProbe
from hotfire_workers.train.writer import EventWriter


def run_loop(request: TrialRequest, rank: int, world_size: int, writer: EventWriter) -> dict[str, Any]:
    """Runs the loop that the request asks for and writes everything but the start and error lines.

    Returns:
        {"rank", "attempts", "applied"}.

    Raises:
        ValueError: The request names a loop that does not exist.
    """
    remarks = Remarks()
    if rank == 0:
        remarks.listen()
    with writer.during("init"):
        import deepspeed
        from transformers import set_seed

        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        device = precision.device_of(local_rank)
        context = RankContext(
            request=request,
            rank=rank,
            local_rank=local_rank,
            world_size=world_size,
            device=device,
            writer=writer,
            pace=Pace(
                request.num_steps, request.num_peak_steps, request.max_attempts, request.max_lost_attempts
            ),
            faults=Faults(request.faults, rank, request.deepspeed),
        )
        config = request.deepspeed or request.reference_config or {}
        given = precision.precision_of(config, request.training, request.loop)
        if given == "fp16" and request.emulate_fp16 and precision.emulate_fp16():
            context.emulated.append(precision.FP16_EMULATION)
        if device.type == "cpu":
            heap.keep_freed_memory()
            if precision.uses_16_bits(config, given) and products.compute_in_float32() and rank == 0:
                writer.note(products.NOTE)
        deepspeed.init_distributed(timeout=timedelta(seconds=request.collective_timeout_s))
        rows = read_rows(request.prepared_dir)
        context.total_steps = _total_steps(context, len(rows))
        rows_per_step = request.micro_batch_size * request.gradient_accumulation_steps * world_size
        if rank == 0:
            writer.line("facts", facts={"num_rows": len(rows), "rows_per_step": rows_per_step})
            if note := short_of_rows(len(rows), rows_per_step):
                writer.note(note)
        set_seed(request.seed)
    memory = MemoryProbe(device)
    try:
        _run(context, rows)
    finally:
        if remarks.texts:
            writer.line("facts", facts={"warnings": remarks.texts})
    peak = memory.peak_bytes()
    if rank == 0 and context.pace.is_lost:
        writer.note(f"ended after {context.pace.attempts} steps: from the first on, no loss was finite")
    with writer.during("end"):
        dist.barrier()
    # The last line. What follows is no evidence, and nobody waits for it.
    writer.line("end", peak_memory_bytes=peak)
    dist.destroy_process_group()
    return {"rank": rank, "attempts": context.pace.attempts, "applied": context.pace.applied}


def _run(context: RankContext, rows: list[dict[str, Any]]) -> None:
    if context.request.loop == "TRAINER":
        from hotfire_workers.train.loops.trainer import run_trainer

        run_trainer(context, rows)
    elif context.request.loop in ("DEEPSPEED", "ACCELERATE"):
        from hotfire_workers.train.loops.engine import run_engine

        run_engine(context, rows)
    else:
        raise ValueError(f"loop is {context.request.loop!r}; known are TRAINER, DEEPSPEED, ACCELERATE")


def _total_steps(context: RankContext, num_rows: int) -> int:
    """Optimizer steps of the job: as requested, else `max_steps`, else epochs over the sample."""
    request = context.request
    given = request.total_steps or int(request.training.get("max_steps") or -1)
    if given > 0:
        return given
    rows_per_step = request.micro_batch_size * request.gradient_accumulation_steps * context.world_size
    epochs = float(request.training.get("num_train_epochs") or 3.0)
    steps = max(1, math.ceil(epochs * math.ceil(num_rows / rows_per_step)))
    if context.rank == 0:
        context.writer.note(
            f"the job's number of steps is not known: its schedule is taken to be {steps} steps long "
            f"({epochs:g} epochs over the sample)"
        )
    return steps
