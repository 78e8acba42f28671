import os
import time
import uuid

import pytest

from hotfire_workers.gpu_claims import GpuBusyError, GpuClaims
from hotfire_workers.slots import Slot


@pytest.fixture
def slots():
    return [
        Slot(index=i, device_type="cuda", gpus=(f"GPU-{uuid.uuid4()}",), memory_bytes=1) for i in range(2)
    ]


def test_a_gpu_in_use_is_refused_and_named(slots):
    first = GpuClaims(slots[:1])
    with pytest.raises(GpuBusyError, match=slots[0].gpus[0]):
        GpuClaims(slots, patience_s=0.0)
    # Nothing of the failed attempt is left.
    other = GpuClaims(slots[1:], patience_s=0.0)
    first.release()
    GpuClaims(slots[:1], patience_s=0.0).release()
    other.release()


def test_the_dead_give_it_back_and_the_new_one_waits(slots):
    ready, told = os.pipe()
    if not (child := os.fork()):
        claims = GpuClaims(slots)
        os.write(told, b"x")
        time.sleep(1.0)
        os.kill(os.getpid(), 9)
        claims.release()
    os.read(ready, 1)
    began = time.monotonic()
    GpuClaims(slots, patience_s=10.0).release()
    assert 0.3 < time.monotonic() - began < 5
    os.waitpid(child, 0)


def test_the_cpu_belongs_to_all():
    cpu = [Slot(memory_bytes=1)]
    GpuClaims(cpu, patience_s=0.0)
    GpuClaims(cpu, patience_s=0.0)
