"""`hotfire doctor`: what `--local`, `worker` and `serve` need of this machine, and what to do where it is missing.

Nothing is imported that is heavy (torch is never), nothing is changed, and no check can hang: each has its time.
"""

from __future__ import annotations

from hotfire.doctor.check import Check, State
from hotfire.doctor.run import examine

__all__ = ["Check", "State", "examine"]
