"""Generates `client/hotfire/v1` from `proto/hotfire/v1`.

    python scripts/gen_protos.py            # write the stubs
    python scripts/gen_protos.py --check    # exit 1 if the committed ones are stale

Run it with the Python of an environment that has grpcio-tools 1.71.2 (`make gen` makes one): a newer generator
would force every training image to a newer protobuf runtime (docs/adr/0002).
"""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
STUBS = ROOT / "client" / "hotfire" / "v1"


def generate(into: Path) -> None:
    """Writes hotfire/v1/*_pb2* below `into`; only files with a service get `_pb2_grpc.py`."""
    protos = sorted((ROOT / "proto" / "hotfire" / "v1").glob("*.proto"))
    arguments = [
        "protoc",
        f"-I{ROOT / 'proto'}",
        f"-I{ROOT / 'proto' / 'third_party'}",
        f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
        f"--python_out={into}",
        f"--pyi_out={into}",
        f"--grpc_python_out={into}",
        *map(str, protos),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed")
    for proto in protos:
        if "\nservice " not in proto.read_text():
            (into / "hotfire" / "v1" / f"{proto.stem}_pb2_grpc.py").unlink(missing_ok=True)


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = {p.name: p for p in (Path(scratch) / "hotfire" / "v1").iterdir() if p.is_file()}
        committed = {p.name: p for p in STUBS.glob("*_pb2*")}
        if "--check" in sys.argv:
            stale = sorted(
                name
                for name in fresh.keys() | committed.keys()
                if name not in fresh
                or name not in committed
                or not filecmp.cmp(fresh[name], committed[name], shallow=False)
            )
            if stale:
                print(f"stale stubs, run `make gen`: {', '.join(stale)}")
            return bool(stale)
        for path in committed.values():
            path.unlink()
        for name, path in fresh.items():
            shutil.copyfile(path, STUBS / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
