"""Weights that are made here, once per preflight, for every trial to load: random, cut, or dequantised."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hotfire_workers.train.errors import UnreadableModelError, one_line
from hotfire_workers.train.folder import ModelFolder, quiet_libraries
from hotfire_workers.train.model import dtype_argument, from_pretrained

_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


def layers_of(config: dict[str, Any]) -> int | None:
    """Number of layers by config.json; of a model with several parts that of its text part."""
    for part in (config, config.get("text_config")):
        for name in _LAYERS:
            if isinstance(part, dict) and isinstance(part.get(name), int):
                return int(part[name])
    return None


def with_layers(config: dict[str, Any], num_layers: int) -> dict[str, Any]:
    """The config of a shallow copy: the first layers only, every width as it is.

    Lists with one entry per layer (layer_types and the like) are cut too.
    """
    old = layers_of(config)

    def cut(part: dict[str, Any]) -> dict[str, Any]:
        result = dict(part)
        for name, value in part.items():
            if name in _LAYERS and isinstance(value, int):
                result[name] = num_layers
            elif isinstance(value, list) and len(value) == old and "layer" in name:
                result[name] = value[:num_layers]
            elif name == "text_config" and isinstance(value, dict):
                result[name] = cut(value)
        return result

    return cut(config)


def must_be_made(folder: ModelFolder, *, is_random: bool, num_layers: int | None) -> bool:
    """Whether trials cannot load the folder as it is."""
    is_cut = num_layers is not None and num_layers < (layers_of(folder.config) or 0)
    return is_random or is_cut or folder.weights_format in ("gguf", "pickle")


def make_weights(
    folder: ModelFolder, out: Path, *, is_random: bool, num_layers: int | None, seed: int, tokenizer: Any
) -> None:
    """Writes a folder that trials load: safetensors, config.json, the tokenizer as it came.

    Args:
        folder: Where the model lies.
        out: Folder to write; replaced if it is there.
        is_random: Fresh weights by the architecture's own initialisation, the same for the same seed.
        num_layers: Keep the first so many layers; None: all.
        seed: Of the random weights.
        tokenizer: Written too, without the job's arguments; None: there is none.

    Raises:
        UnreadableModelError: The weights do not load, or the architecture cannot be built.
    """
    shutil.rmtree(out, ignore_errors=True)
    config = auto_config(folder, num_layers)
    model = _random(folder, config, seed) if is_random else _loaded(folder, config)
    with quiet_libraries():
        model.save_pretrained(out, max_shard_size="4GB")
        if tokenizer is not None:
            tokenizer.save_pretrained(out)
    if folder.trust_remote_code:
        for code in folder.path.glob("*.py"):
            shutil.copy2(code, out)


def reuse_weights(made: Path, out: Path, *, num_layers: int | None) -> bool:
    """Points `out` to weights that an earlier prepare of this preflight made, if they are what is wanted."""
    try:
        config = json.loads((made / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if num_layers is not None and layers_of(config) != num_layers:
        return False
    if out.is_symlink():
        out.unlink()
    if out.resolve() != made.resolve():
        shutil.rmtree(out, ignore_errors=True)
        out.symlink_to(made.resolve(), target_is_directory=True)
    return True


def auto_config(folder: ModelFolder, num_layers: int | None = None) -> Any:
    """The transformers config of the folder, shallow where asked for.

    Raises:
        UnreadableModelError: transformers cannot make a config of it.
    """
    import transformers

    config = folder.config
    model_type = config.get("model_type")
    if not model_type:
        raise UnreadableModelError("config.json has no model_type. Give a folder written by save_pretrained.")
    if not folder.trust_remote_code and model_type not in transformers.CONFIG_MAPPING:
        raise UnreadableModelError(
            f"transformers {transformers.__version__} does not know model_type {str(model_type)[:60]!r}. "
            "Upgrade transformers on this worker, or correct config.json."
        )
    old = layers_of(config)
    if num_layers is not None and old and num_layers < old:
        config = with_layers(config, num_layers)
    try:
        with quiet_libraries():
            if folder.trust_remote_code:
                made = transformers.AutoConfig.from_pretrained(folder.location, **folder.load_arguments())
                for name in _LAYERS:
                    if hasattr(made, name) and num_layers is not None:
                        setattr(made, name, num_layers)
                return made
            fields = {k: v for k, v in config.items() if k not in ("model_type", "transformers_version")}
            return transformers.CONFIG_MAPPING[model_type].from_dict(fields)
    except Exception as error:
        raise UnreadableModelError(f"config.json is not usable: {one_line(error)}") from error


def build(folder: ModelFolder, config: Any, **arguments: Any) -> nn.Module:
    """Builds the causal language model of a config, without weights from the folder.

    Raises:
        UnreadableModelError: transformers knows no causal language model of this kind, or it does not build.
    """
    from transformers import AutoModelForCausalLM

    try:
        with quiet_libraries():
            return AutoModelForCausalLM.from_config(
                config, trust_remote_code=folder.trust_remote_code, **arguments
            )
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise UnreadableModelError(
            f"The model of {folder.name} cannot be built: {one_line(error)}"
        ) from error


def config_dtype(config: Any) -> torch.dtype:
    """Type of the weights by config.json; float32 where it says nothing."""
    value = getattr(config, dtype_argument(), None)
    if isinstance(value, str):
        value = getattr(torch, value.removeprefix("torch."), None)
    return value if isinstance(value, torch.dtype) else torch.float32


def _random(folder: ModelFolder, config: Any, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(folder, config, **{dtype_argument(): config_dtype(config)})


def _loaded(folder: ModelFolder, config: Any) -> nn.Module:
    arguments = folder.load_arguments() | {"config": config}
    if folder.weights_format == "safetensors":
        arguments["use_safetensors"] = True
    if not folder.gguf:
        arguments[dtype_argument()] = "auto"
    model = from_pretrained(folder, **arguments)
    # Dequantised weights are plain ones; the marks of their origin would forbid saving and training.
    for name in ("hf_quantizer", "is_quantized", "quantization_method"):
        if folder.gguf and hasattr(model, name):
            delattr(model, name)
    if folder.gguf and hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model
