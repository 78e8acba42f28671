"""Attention of 16-bit tensors on a CPU: computed in float32, where that is what the CPU is faster at.

PyTorch's CPU kernel keeps scores and sums in float32 whatever the type of its inputs, and converts block by
block. Converting once gives the same values up to the rounding of the weights, and is faster (forward and
backward, torch 2.13, one core with avx512_bf16, milliseconds; heads x length x head size):

    fp16   12 x 384 x 16    42 -> 7     9 x 1024 x 64    610 -> 80
    bf16   12 x 384 x 16    11 -> 7     9 x 1024 x 64     68 -> 80

Inputs and outputs keep their type, so what overflows in it still does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

_LARGEST_BF16_HEAD = 32


def compute_in_float32(tell: Callable[[str], None] = lambda _: None) -> None:
    """Replaces `torch.nn.functional.scaled_dot_product_attention` in this process, a rank on a CPU.

    Args:
        tell: Told once, when it is first of use.
    """
    told = False
    original = functional.scaled_dot_product_attention

    def attention(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else query.dtype
        # Dropout draws random numbers in another order for another kernel: left as it is.
        if dropout_p or not _is_faster(dtype, query.shape[-1]):
            output: torch.Tensor = original(query, key, value, attn_mask, dropout_p, *args, **kwargs)
            return output
        nonlocal told
        if not told:
            told = True
            tell(
                "attention was computed in float32 and rounded: this CPU's 16-bit kernel does so too, slower"
            )
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = attn_mask.to(dtype).float()
        with torch.autocast("cpu", enabled=False):
            inputs = [tensor.to(dtype).float() for tensor in (query, key, value)]
            output = original(*inputs, attn_mask, dropout_p, *args, **kwargs)
            return output.to(dtype)

    functional.scaled_dot_product_attention = attention


def _is_faster(dtype: torch.dtype, head_size: int) -> bool:
    return dtype == torch.float16 or (dtype == torch.bfloat16 and head_size <= _LARGEST_BF16_HEAD)
