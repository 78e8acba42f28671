"""Whether a file is still the one that was read."""

from __future__ import annotations

from pathlib import Path

#: (device, inode, size, modification time in ns); None: it is not there.
Stamp = tuple[int, int, int, int] | None


def stamp(path: Path) -> Stamp:
    """What changes whenever the file is replaced or written, also by a swapped symbolic link."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
