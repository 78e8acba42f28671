"""`hotfire.patch`: RFC 6902 on the spec document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfire.patch import PatchError, apply_patch, diff
from hotfire.rules.evidence import PatchOperation

keys = st.text(alphabet="ab/~c", min_size=1, max_size=3)
documents = st.recursive(
    st.one_of(st.booleans(), st.integers(-3, 3), st.text(max_size=3)),
    lambda inner: st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
).filter(lambda d: isinstance(d, dict))


@given(documents, documents)
def test_a_diff_applied_gives_the_other_document(before, after):
    patch = diff(before, after, "/deepspeed")
    assert apply_patch({"deepspeed": before}, patch) == {"deepspeed": after}


def test_the_document_itself_is_not_changed():
    document = {"training": {"max_length": 8}}
    apply_patch(document, [PatchOperation(op="replace", path="/training/max_length", value=512)])
    assert document == {"training": {"max_length": 8}}


def test_add_makes_the_section_it_needs():
    patched = apply_patch(
        {"deepspeed": {}}, [PatchOperation(op="add", path="/deepspeed/bf16/enabled", value=True)]
    )
    assert patched["deepspeed"] == {"bf16": {"enabled": True}}


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        (PatchOperation(op="replace", path="/training/x", value=1), "there is no 'x'"),
        (PatchOperation(op="remove", path="/deepspeed/zero/stage"), "there is no 'zero'"),
        (PatchOperation(op="add", path="/plan/num_steps", value=1), "may only touch"),
        (PatchOperation(op="add", path="/cluster/num_gpus", value=1), "may only touch"),
        (PatchOperation(op="move", path="/training/max_length", value=1), "must be add, replace or remove"),
    ],
)
def test_what_cannot_be_applied_says_why(operation, says):
    with pytest.raises(PatchError, match=says):
        apply_patch({"training": {"max_length": 8}, "deepspeed": {}}, [operation])
