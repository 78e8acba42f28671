"""A slot's warm process, kept alive: guardian and warm process start, stop and restart here."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

from hotfire_workers.runner import channel, tree
from hotfire_workers.runner.base import RunnerError
from hotfire_workers.runner.cold import ColdRunner
from hotfire_workers.runner.environment import rank_environment
from hotfire_workers.runner.warm import WarmRunner

_MAX_SOCKET_PATH_BYTES = 107
_END_S = 10.0
_MAX_PAUSE_S = 60.0


class WarmService:
    """Starts the guardian, which starts the warm process, and starts it again when it dies.

    Call `start` and `check` from a thread that lives as long as the service, best the main thread: the kernel
    ends the guardian when the *thread* that started it ends.

    Args:
        slot: Name of the slot, unique within `cache_dir`.
        cache_dir: Root of the cache: `run/{slot}/` holds socket and log, `environments/` what set-up has
            learnt.
        device: "cpu", or DeepSpeed's name of the accelerator.
        env: More environment for user code, past the allow-list.
        python: The interpreter of the training environment; None: this one.
        allow_hub: User code may ask the Hugging Face hub.
        warmth: "all"; "torch" imports the launcher only (tests of it).
        entry: Test hook: what ranks run instead, `module:function`.
        prepare: Test hook: what a preparation runs instead.
    """

    def __init__(
        self,
        slot: str,
        cache_dir: str | Path,
        *,
        device: str = "cpu",
        env: Mapping[str, str] | None = None,
        python: str | None = None,
        allow_hub: bool = False,
        warmth: str = "all",
        entry: str | None = None,
        prepare: str | None = None,
    ) -> None:
        self.slot = slot
        self._cache_dir = Path(cache_dir).absolute()
        self._folder = self._cache_dir / "run" / slot
        self._environment = rank_environment(
            device=device, cache_dir=self._cache_dir, allow_hub=allow_hub, extra=env
        )  # fmt: skip
        self._python = python or sys.executable
        self._warmth = warmth
        self._entry = entry
        self._prepare = prepare
        digest = hashlib.sha256(str(self._cache_dir).encode()).hexdigest()[:8]
        self.marker = f"{slot}@{digest}"
        """Value of HOTFIRE_SLOT in every process of the slot."""
        self._private_folder: Path | None = None
        self._lock: IO[str] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._owner_pid = os.getpid()
        self._num_failures_in_a_row = 0
        self._start_again_at = 0.0
        self.num_restarts = 0
        self.socket_path = self._choose_socket_path()

    def _choose_socket_path(self) -> Path:
        path = self._folder / "warm.sock"
        if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
            return path
        # The kernel's limit. A short folder of our own, removed at `stop`.
        self._private_folder = Path(tempfile.mkdtemp(prefix="hotfire-"))
        return self._private_folder / "warm.sock"

    @property
    def log_path(self) -> Path:
        """What guardian and warm process print."""
        return self._folder / "warm.log"

    @property
    def guardian_pid(self) -> int | None:
        """Process id of the guardian, if it was started."""
        return self._guardian.pid if self._guardian else None

    def start(self) -> None:
        """Start the guardian; does not wait for the imports (clients queue at the socket meanwhile).

        Raises:
            RunnerError: Another process serves this slot.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        tree.sweep(self._cold_marker)
        self._spawn()

    def _take_lock(self) -> None:
        """Two services of one slot would sweep each other away. Children do not inherit the lock."""
        if self._lock is not None:
            return
        lock = (self._folder / "lock").open("w")
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise RunnerError(
                f"slot {self.slot!r} of {self._cache_dir} is served by another process: choose another "
                "slot name or cache folder"
            ) from None
        self._lock = lock

    def _spawn(self) -> None:
        command = [self._python, "-m", "hotfire_workers.train.warm", "--socket", str(self.socket_path)]
        command += ["--parent", "{parent}", "--cache-dir", str(self._cache_dir), "--warmth", self._warmth]
        command += ["--entry", self._entry] if self._entry else []
        command += ["--prepare", self._prepare] if self._prepare else []
        guardian = [sys.executable, "-m", "hotfire_workers.runner.guardian", "--marker", self.marker]
        self.socket_path.unlink(missing_ok=True)
        with self.log_path.open("wb") as log:
            self._guardian = subprocess.Popen(
                [*guardian, "--parent", str(os.getpid()), "--", *command],
                env={**self._environment, tree.SLOT: self.marker},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check(self) -> bool:
        """Look after the guardian; call it about twice a second.

        A dead one is started again, at once the first time and with growing pauses (up to a minute) while it
        dies before it is ready.

        Returns:
            True while it lives.
        """
        if self._guardian is not None and self._guardian.poll() is None:
            return True
        now = time.monotonic()
        if self._guardian is not None:
            was_ready = self.last_error() is None
            self._num_failures_in_a_row = 0 if was_ready else self._num_failures_in_a_row + 1
            pause = (
                min(_MAX_PAUSE_S, 0.5 * 2**self._num_failures_in_a_row)
                if self._num_failures_in_a_row
                else 0.0
            )
            self._start_again_at = now + pause
            self._guardian = None
        if now >= self._start_again_at:
            self.num_restarts += 1
            self._spawn()
        return False

    def restart(self) -> None:
        """End guardian and warm process, with whatever runs, and start anew."""
        self._end_guardian()
        self.num_restarts += 1
        self._spawn()

    def health(self, timeout_s: float = 1.0) -> dict[str, Any] | None:
        """What the warm process says of itself; None while it imports or when it is gone.

        Among others: `versions`, `notes`, `extension_lock` (path of a stale lock or None), `threads`,
        `num_served`, `num_queued`, `busy`.
        """
        return channel.health(self.socket_path, timeout_s)

    def wait_ready(self, timeout_s: float = 120.0) -> dict[str, Any]:
        """Wait until the warm process answers.

        Returns:
            Its health.

        Raises:
            RunnerError: It died, or did not answer in time; the text says what its log says.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if (answer := self.health()) is not None:
                return answer
            if self._guardian is None or self._guardian.poll() is not None:
                raise RunnerError(self.last_error() or f"the warm process died; see {self.log_path}")
            time.sleep(0.05)
        raise RunnerError(f"the warm process was not ready within {timeout_s:g} s; see {self.log_path}")

    def last_error(self) -> str | None:
        """Why the warm process could not serve, from its log; None if it said no such thing."""
        with contextlib.suppress(OSError):
            for line in reversed(self.log_path.read_text(errors="replace").splitlines()):
                if line.startswith("the warm process cannot serve"):
                    return line
        return None

    def stop(self) -> None:
        """End guardian, warm process and whatever runs in them. In a fork of the owner: nothing."""
        if os.getpid() != self._owner_pid:
            return
        self._end_guardian()
        self.socket_path.unlink(missing_ok=True)
        if self._private_folder is not None:
            shutil.rmtree(self._private_folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _end_guardian(self) -> None:
        if self._guardian is None:
            return
        self._guardian.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guardian.wait(_END_S)
        self._guardian.kill()
        self._guardian.wait()
        self._guardian = None
        tree.sweep(self.marker)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _cold_marker(self) -> str:
        return f"{self.marker}.cold"

    def cold_runner(self, **options: Any) -> ColdRunner:
        """The cold twin of this slot; `options` as for `ColdRunner` (`first_line_s`, `hang_s`)."""
        return ColdRunner(
            environment=self._environment,
            python=self._python,
            cache_dir=self._cache_dir,
            marker=self._cold_marker,
            entry=self._entry,
            prepare=self._prepare,
            **options,
        )

    def runner(self, **options: Any) -> WarmRunner:
        """A client of this slot that repeats cold; `options` as for `WarmRunner`. Any process may use it."""
        return WarmRunner(self.socket_path, cold=self.cold_runner(), **options)
