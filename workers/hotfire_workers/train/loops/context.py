"""What every part of a rank needs to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from hotfire.rules.evidence.request import TrialRequest
from hotfire_workers.train.loops.faults import Faults
from hotfire_workers.train.loops.pace import Pace
from hotfire_workers.train.writer import EventWriter


@dataclass(slots=True)
class RankContext:
    """One rank of one trial."""

    request: TrialRequest
    rank: int
    local_rank: int
    world_size: int
    device: torch.device
    writer: EventWriter
    pace: Pace
    faults: Faults
    total_steps: int = 0
    """Optimizer steps of the real job: the length of its schedule."""
    emulated: list[str] = field(default_factory=list)
    adaptations: list[dict[str, Any]] = field(default_factory=list)
    """Changes that let the job run here: {"path", "before", "after", "reason"}, as on the wire."""
    ignored_arguments: list[str] = field(default_factory=list)

    @property
    def is_reference(self) -> bool:
        """This trial runs without DeepSpeed."""
        return self.request.deepspeed is None

    def adapt(self, path: str, before: Any, after: Any, reason: str) -> None:
        """Notes a change of the job."""
        self.adaptations.append({"path": path, "before": before, "after": after, "reason": reason})
