"""Are the weights in the folder whole, and of this model? Read from the files' headers only."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from torch import nn

from hotfire_workers.train.errors import BlockedModelError, UnreadableModelError
from hotfire_workers.train.folder import ModelFolder, refuse_pointer

_MAX_HEADER_BYTES = 100 << 20


def check_weights(folder: ModelFolder, *, allow_pickle: bool) -> None:
    """Sees that every weight file is there and whole.

    Raises:
        UnreadableModelError: There are none, some are missing or cut off.
        BlockedModelError: They are pickles, and that is not allowed here.
    """
    match folder.weights_format:
        case "none":
            raise UnreadableModelError(
                f"{folder.name} holds no weights (no model.safetensors, no index, no .gguf). Copy the "
                "weights there, or set model.init to random (INIT_RANDOM) to check the job with random weights."
            )
        case "pickle":
            if not allow_pickle:
                raise BlockedModelError(
                    "pickle-weights",
                    f"{folder.name} holds its weights as pickle only ({folder.pickle_files[0]}): "
                    "unpickling runs code, which this worker does not allow. Save them as safetensors.",
                )
            for name in folder.pickle_files:
                refuse_pointer(folder.path / name)
        case "safetensors":
            names = folder.safetensors_files
            if missing := [name for name in names if not (folder.path / name).is_file()]:
                listed = ", ".join(missing[:4]) + (" ..." if len(missing) > 4 else "")
                raise UnreadableModelError(
                    f"The model folder is half-downloaded: {len(missing)} of {len(names)} weight files are "
                    f"missing ({listed}). Download it again."
                )
            for name in names:
                tensor_shapes(folder.path / name)


def check_shapes(folder: ModelFolder, model: nn.Module) -> None:
    """Compares the shapes in the weight files with those of the model that config.json describes.

    Names that only one of the two has say nothing (transformers renames and fuses weights); a tensor of the
    same name and another shape does.

    Raises:
        UnreadableModelError: A tensor has another shape than config.json says.
    """
    if folder.weights_format != "safetensors":
        return
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = []
    for file in folder.safetensors_files:
        for name, shape in tensor_shapes(folder.path / file).items():
            if name in expected and expected[name] != shape:
                wrong.append(f"{name} is {list(shape)} in {file} and {list(expected[name])} by config.json")
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UnreadableModelError(
            f"The weights are not of this config: {wrong[0]}{more}. Give the config.json that belongs to the "
            "weights."
        )


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape, from the header of a safetensors file.

    Raises:
        UnreadableModelError: It is no safetensors file, or cut off.
    """
    refuse_pointer(path)
    size = path.stat().st_size
    broken = UnreadableModelError(
        f"{path.name} is not a whole safetensors file ({size} bytes). Download it again."
    )
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise broken
        (num_header,) = struct.unpack("<Q", start)
        if not 2 <= num_header <= min(size - 8, _MAX_HEADER_BYTES):
            raise broken
        try:
            header = json.loads(file.read(num_header))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
            shapes = {name: tuple(entry["shape"]) for name, entry in tensors.items()}
        except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
            raise broken from error
    if size < 8 + num_header + end:
        raise UnreadableModelError(
            f"{path.name} is cut off: it has {size} of {8 + num_header + end} bytes. Download it again."
        )
    return shapes
