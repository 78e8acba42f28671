"""Kernels are replaced for a whole process: each test has its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BEGIN = """
import torch
from torch.nn import functional as F
from hotfire_workers.train.loops import products
torch.manual_seed(0)
dtype = torch.{dtype}
a, b, c = (torch.randn(2, 24, 16).to(dtype) for _ in range(3))
q, k, v = (torch.randn(2, 3, 24, 16).to(dtype).requires_grad_() for _ in range(3))
def attend():
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return [out, *torch.autograd.grad(out.float().square().sum(), (q, k, v))]
before = attend()
products._types_without_arithmetic = lambda: {lacking}
assert products.compute_in_float32() is {told}
"""
_LACKING = "{torch.bfloat16, torch.float16}"


def run(code: str, *, dtype: str = "bfloat16", lacking: str = _LACKING, told: bool = True) -> None:
    begin = _BEGIN.replace("{dtype}", dtype).replace("{lacking}", lacking).replace("{told}", str(told))
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Overriding" not in done.stderr


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_products_have_float32_sums_and_one_rounding(dtype: str) -> None:
    run(
        """
for made, exact in (
    (a[0] @ b[0].T, a[0].float() @ b[0].float().T),
    (torch.bmm(a, b.mT), torch.bmm(a.float(), b.float().mT)),
    (torch.addmm(c[0, :, :1], a[0], b[0].T), torch.addmm(c[0, :, :1].float(), a[0].float(), b[0].float().T)),
    (torch.baddbmm(c[..., :1], a, b.mT), torch.baddbmm(c[..., :1].float(), a.float(), b.float().mT)),
):
    assert made.dtype == dtype
    assert torch.equal(made, exact.to(dtype))
""",
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_attention_and_its_gradients_are_those_of_the_kernel(dtype: str) -> None:
    run(
        """
for made, known in zip(attend(), before):
    assert made.dtype == dtype
    torch.testing.assert_close(made, known, rtol=0.03, atol=0.03)
""",
        dtype=dtype,
    )


def test_gradients_flow_and_what_overflows_still_does() -> None:
    run(
        """
w = torch.nn.Linear(16, 8, dtype=dtype)
F.linear(a, w.weight, w.bias).float().sum().backward()
torch.testing.assert_close(w.weight.grad[0].float(), a.float().sum((0, 1)), rtol=0.02, atol=0.1)
big = torch.full((4, 4), 300.0, dtype=dtype)
assert torch.isinf(big @ big).all()
nan = torch.full((4, 4), float("nan"), dtype=dtype)
assert torch.isnan(nan @ big).all()
""",
        dtype="float16",
    )


def test_types_that_do_not_fit_together_are_refused_as_before() -> None:
    run(
        """
for left, right in ((a[0], b[0].T.float()), (a[0].float(), b[0].T), (a[0], b[0].T.to(torch.float16))):
    try:
        left @ right
    except RuntimeError as error:
        assert "dtype" in str(error) or "same" in str(error), error
    else:
        raise AssertionError("mixed types were multiplied")
"""
    )


def test_a_cpu_that_has_the_arithmetic_keeps_its_products() -> None:
    run(
        """
converted = []
products._converted = lambda value, *_: converted.append(value) or value
a[0] @ b[0].T
assert not converted
F.scaled_dot_product_attention(q.float(), k.float(), v.float())
assert not converted
try:
    attend()
except RuntimeError:
    pass  # only the first argument is wide now
assert converted
""",
        lacking="set()",
        told=False,
    )
