"""What a slot can hold."""

from __future__ import annotations

import struct

import pytest

from hotfire_workers import gguf_header
from hotfire_workers.forecast import count_parameters, forecast, num_layers_of

LLAMA_7B = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
GLM4_9B = {
    "vocab_size": 151552,
    "hidden_size": 4096,
    "intermediate_size": 13696,
    "num_hidden_layers": 40,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
}
CHATGLM = {"padded_vocab_size": 151552, "hidden_size": 4096, "ffn_hidden_size": 13696, "num_layers": 40,
           "num_attention_heads": 32, "multi_query_group_num": 2, "kv_channels": 128}  # fmt: skip
MIXTRAL = LLAMA_7B | {"intermediate_size": 14336, "num_key_value_heads": 8, "num_local_experts": 8}


@pytest.mark.parametrize(
    ("config", "billions"),
    [(LLAMA_7B, 6.74), (GLM4_9B, 9.4), (CHATGLM, 9.4), (MIXTRAL, 46.7), ({"text_config": LLAMA_7B}, 6.74)],
)
def test_parameters_are_counted_to_two_percent(config, billions):
    assert count_parameters(config) == pytest.approx(billions * 1e9, rel=0.02)


def test_what_config_json_does_not_tell_is_not_guessed():
    assert count_parameters({"model_type": "unknown"}) is None
    assert num_layers_of({}) is None
    assert forecast({}, training={}, num_ranks=2, micro_batch_size=1, length=10, available_bytes=1) is None


def of(config, gib, **changes):
    given = {
        "training": {},
        "num_ranks": 2,
        "micro_batch_size": 1,
        "length": 512,
        "available_bytes": int(gib * 2**30),
    }
    return forecast(config, **(given | changes))


def test_a_model_that_fits_is_not_cut():
    result = of(LLAMA_7B, 1000)
    assert (result.fits, result.max_num_layers) == (True, None)


def test_a_model_that_does_not_fit_keeps_as_many_layers_as_fit():
    fewer, more = of(LLAMA_7B, 60), of(LLAMA_7B, 120)
    assert 2 <= fewer.max_num_layers < more.max_num_layers < 32
    assert of(LLAMA_7B, 120, training={"peft": {"r": 8}}).max_num_layers is None


def test_two_layers_are_the_least():
    result = of(GLM4_9B, 16)
    assert (result.fits, result.max_num_layers) == (False, None)
    assert "GiB" in result.words


def test_a_gpu_holds_one_rank():
    assert of(LLAMA_7B, 160, per_rank=True).fits
    assert of(LLAMA_7B, 160, per_rank=True).max_num_layers is None


def write_gguf(path, shapes, *, num_tensors=None):
    """A header with every kind of value, and tensors of these shapes."""

    def text(value):
        return struct.pack("<Q", len(value)) + value

    values = [
        text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama"),
        text(b"llama.block_count") + struct.pack("<II", 4, 30),
        text(b"general.flag") + struct.pack("<IB", 7, 1),
        text(b"tokens") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"bc"),
        text(b"scores") + struct.pack("<IIQff", 9, 6, 2, 0.5, 1.0),
    ]
    tensors = [text(b"t") + struct.pack(f"<I{len(s)}QIQ", len(s), *s, 0, 0) for s in shapes]
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(shapes) if num_tensors is None else num_tensors, len(values))
    path.write_bytes(head + b"".join(values) + b"".join(tensors))


def test_a_gguf_file_is_counted_from_its_header(tmp_path):
    path = tmp_path / "m.gguf"
    write_gguf(path, [(64, 512), (64,)])
    assert gguf_header.count_parameters(path) == 64 * 512 + 64
    assert of({}, 8, num_parameters=135_000_000).fits
    assert not of({}, 8, num_parameters=10**9).fits


def test_a_damaged_gguf_file_is_not_counted(tmp_path):
    path = tmp_path / "m.gguf"
    write_gguf(path, [(4,)], num_tensors=2**40)
    assert gguf_header.count_parameters(path) is None
    path.write_bytes(b"GGUF")
    assert gguf_header.count_parameters(path) is None
    assert gguf_header.count_parameters(tmp_path / "absent") is None


def test_architectures_that_the_memory_forecast_counts_are_counted_alike():
    from hotfire.dsconfig.memory_model import decoder_of

    known = LLAMA_7B | {"model_type": "llama"}
    assert count_parameters(known) == decoder_of(known).num_parameters
    assert count_parameters(known, 2) == decoder_of(known, num_layers=2).num_parameters
    counted, estimated = (of(config, 1).needed_bytes for config in (known, LLAMA_7B))
    assert counted == pytest.approx(estimated, rel=0.1)
    long = {"length": 8192, "micro_batch_size": 4}
    assert of(known, 1, **long).needed_bytes > 2 * of(known, 1).needed_bytes
    saved = of(known, 1, **long, training={"gradient_checkpointing": True}).needed_bytes
    assert saved < of(known, 1, **long).needed_bytes
