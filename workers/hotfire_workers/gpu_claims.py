"""One worker a GPU: a second one that would use the same GPU is refused at its start.

The claim is a name in Linux' abstract socket namespace. The kernel takes it back when the last process that holds it
dies, however it dies: the worker's main process and the task processes forked from it, whose trials may still be on the
GPU. It is seen across users and private /tmp folders; not across network namespaces, so containers have to be given
different GPUs by whoever starts them.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Sequence

from hotfire_workers.slots import Slot

#: A worker that was killed and is started again waits for its own old tasks to end.
PATIENCE_S = 15.0
_POLL_S = 0.2


class GpuBusyError(Exception):
    """Another worker of this machine uses a GPU; the text says which, and what to do."""


class GpuClaims:
    """Claims on the GPUs of these slots; keep it for as long as they are used.

    Args:
        slots: The slots; those on the CPU claim nothing.
        patience_s: How long to wait for a GPU that is in use.

    Raises:
        GpuBusyError: A GPU is still in use then.
    """

    def __init__(self, slots: Sequence[Slot], *, patience_s: float = PATIENCE_S) -> None:
        self._held: list[socket.socket] = []
        end = time.monotonic() + patience_s
        for uuid in (uuid for slot in slots for uuid in slot.gpus):
            while (held := _claim(uuid)) is None:
                if time.monotonic() > end:
                    self.release()
                    raise GpuBusyError(
                        f"GPU {uuid} is used by another worker of this machine: give each worker GPUs of its own "
                        "(--devices 0,1)"
                    )
                time.sleep(_POLL_S)
            self._held.append(held)

    def release(self) -> None:
        """Gives them back."""
        for held in self._held:
            held.close()
        self._held.clear()


def _claim(uuid: str) -> socket.socket | None:
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind(f"\0hotfire-gpu-{uuid}")
    except OSError as error:
        held.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return held
