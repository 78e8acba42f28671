"""Wording and patches: what all findings share."""

import pytest
from tests.unit.rules.factory import ds_config, evidence, training

from hotfire.patch import apply_patch
from hotfire.rules import remedy
from hotfire.rules.evidence import Cluster, PatchOperation
from hotfire.rules.wording import clause, counted, first_sentence, listed, number, percent


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("The answers begin after 64. Rows 1 to 3.", "The answers begin after 64"),
        (
            "Norm 0.649 instead of 0.907 with DeepSpeed 0.17.6.",
            "Norm 0.649 instead of 0.907 with DeepSpeed 0.17.6",
        ),
        ("It stops at step 3. 8 of 8 steps.", "It stops at step 3"),
        ("One sentence", "One sentence"),
    ],
)
def test_first_sentence(text: str, first: str) -> None:
    assert first_sentence(text) == first


def test_numbers() -> None:
    assert [percent(1, 3), percent(1, 1000), percent(0, 5), percent(1, 0)] == ["33 %", "0.1 %", "0 %", "0 %"]
    assert [number(2.0**32), number(0.90647), number(1e-5), number(float("nan")), number(None)] == [
        "4294967296",
        "0.9065",
        "1e-05",
        "nan",
        "not measured",
    ]
    assert [counted(1, "row"), counted(2, "row"), listed(range(9), limit=3)] == [
        "1 row",
        "2 rows",
        "0, 1, 2 and 6 more",
    ]
    assert [clause("The loss"), clause("ZeRO stage 2"), clause("")] == ["the loss", "ZeRO stage 2", ""]


def test_patch_words() -> None:
    patch = [
        PatchOperation(
            op="add", path="/training/gradient_checkpointing_kwargs", value={"use_reentrant": False}
        ),
        PatchOperation(op="remove", path="/deepspeed/fp16/loss_scale"),
    ]
    assert remedy.describe_patch(patch) == (
        "gradient_checkpointing_kwargs {use_reentrant: false}, without fp16.loss_scale"
    )
    assert remedy.with_patch(patch[:1]).startswith("with ")
    assert remedy.with_patch(patch[1:]).startswith("without ")


def test_bf16_leaves_auto_to_the_arguments() -> None:
    config = ds_config(dtype="fp32", fp16={"enabled": "auto"}, bf16={"enabled": "auto"})
    given = evidence(given=config, training=training(dtype="fp16"))
    fix = remedy.bf16_instead(given)
    assert [o.path for o in fix.patch] == ["/training/fp16", "/training/bf16"]
    assert apply_patch(given.spec, fix.patch)["training"]["bf16"] is True
    given.cluster = Cluster(gpu_type="NVIDIA Tesla T4")
    assert remedy.bf16_instead(given) is None
