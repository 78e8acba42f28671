"""Matrix products and attention of 16-bit tensors on a CPU: computed in float32, where the CPU is faster at that.

A CPU without 16-bit arithmetic (no avx512_bf16, no amx) multiplies such tensors element by element, in float32,
10 to 50 times slower than it multiplies float32 tensors. Converting whole tensors gives the same values up to the
order of a sum, which differs between any two machines, and is what a GPU does: 16 bits in, float32 sums, one
rounding at the end. What overflows in the 16 bits still does.

CPU seconds of a micro-batch, forward and backward (tiny GLM, 2 x 384 tokens, torch 2.13, one core with avx2):

    float32 0.16    bf16 1.05 -> 0.15

Attention is a case of its own: with avx512_bf16, too, its kernel is slower in fp16, and in bf16 with small heads
(forward and backward, milliseconds; heads x length x head size):

    fp16   12 x 384 x 16    42 -> 7     9 x 1024 x 64    610 -> 80
    bf16   12 x 384 x 16    11 -> 7     9 x 1024 x 64     68 -> 80

The kernels are replaced below autograd, so that the backward pass has them, too, and every loop and library.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

NOTE = "matrix products of 16-bit tensors were computed in float32 and rounded: this CPU has no faster way"

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
_ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
)
_LARGEST_BF16_HEAD = 32

#: Whether a kernel called with this tensor first, and these arguments after it, is faster in float32.
_IsFaster = Callable[[torch.Tensor, tuple[Any, ...]], bool]

# A registration ends with its library object.
_libraries: list[torch.library.Library] = []


def compute_in_float32() -> bool:
    """Replaces the CPU kernels of products and attention in this process, a rank on a CPU.

    Returns:
        Whether a 16-bit type has no arithmetic of its own here; False where this PyTorch (before 2.9) cannot
        replace kernels, too: then everything is right, and slow.
    """
    if not hasattr(torch.library, "get_kernel"):
        return False
    lacking = _types_without_arithmetic()

    def product(first: torch.Tensor, others: tuple[Any, ...]) -> bool:
        # Types that do not fit together are the job's fault, and the kernel's to refuse.
        return first.dtype in lacking and all(other.dtype == first.dtype for other in others)

    def attention(first: torch.Tensor, _: tuple[Any, ...]) -> bool:
        has_small_heads = first.dtype == torch.bfloat16 and first.shape[-1] <= _LARGEST_BF16_HEAD
        return first.dtype in lacking or first.dtype == torch.float16 or has_small_heads

    _replace(_PRODUCTS, product)
    _replace(_ATTENTION, attention)
    return bool(lacking)


def _types_without_arithmetic() -> set[torch.dtype]:
    has = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,  # noqa: SLF001 - no public name
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,  # noqa: SLF001 - no public name
    }
    return {dtype for dtype, answer in has.items() if not answer()}


def _replace(names: tuple[str, ...], is_faster: _IsFaster) -> None:
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Overriding a previously registered kernel": meant so
        for name in names:
            original = torch.library.get_kernel(f"aten::{name}", "CPU")
            library.impl(name, _kernel(original, is_faster), "CPU", with_keyset=True)
    _libraries.append(library)


def _kernel(original: Any, is_faster: _IsFaster) -> Callable[..., Any]:
    def kernel(keys: Any, first: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not is_faster(first, args):
            return original.call_boxed(keys, first, *args, **kwargs)
        dtype = first.dtype
        wide = [_converted(value, dtype, torch.float32) for value in args]
        named = {name: _converted(value, dtype, torch.float32) for name, value in kwargs.items()}
        result = original.call_boxed(keys, first.float(), *wide, **named)
        if isinstance(result, torch.Tensor):
            return result.to(dtype)
        # Of attention the second result is the sums' logarithm, which is float32 in any case.
        kept = 1 if len(result) == 2 else None
        return tuple(value if n == kept else value.to(dtype) for n, value in enumerate(result))

    return kernel


def _converted(value: Any, source: torch.dtype, target: torch.dtype) -> Any:
    return value.to(target) if isinstance(value, torch.Tensor) and value.dtype == source else value
