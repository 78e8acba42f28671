"""DeepSpeed versions that are known to train wrongly, and with which configs: the table, as data.

One entry per fault. "fixed in" is the first release in which it is right; `None`: in no release up to `versions.KNOWN`.
Where a first bad release is not known, `None` means "every one before the fix".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What of a job decides whether a fault can strike."""

    stage: int = 0
    precision: str = "fp32"
    """"fp32", "bf16" or "fp16"."""
    accumulation: int | None = None
    clipping: float = 0.0
    overlap_comm: bool = False
    contiguous_gradients: bool = True
    offload_optimizer: bool = False
    accumulation_dtype: str | None = None
    """`data_types.grad_accum_dtype`."""
    multi_rank_bucket: bool = True
    bf16_overflow_check: bool = False
    given_fp16: frozenset[str] = frozenset()
    """Keys that stand in the `fp16` section."""
    loss_scale: float = 0.0
    """`fp16.loss_scale`; 0: dynamic."""
    fused_adam: bool = False
    """The config's optimizer is DeepSpeed's fused Adam (on a GPU)."""
    warm_up_without_maximum: bool = False
    """The config's scheduler is WarmupLR, and `warmup_max_lr` is not given."""
    loop: str | None = None
    """Who drives the training, as in the spec: "TRAINER", "ACCELERATE", "DEEPSPEED"; None: not said."""
    peft: bool = False
    torch_compile: bool = False
    world_size: int | None = None
    """Data-parallel ranks of the real job; None: not known."""

    @property
    def reduces(self) -> bool:
        """Gradients travel between ranks, as far as is known."""
        return self.world_size is None or self.world_size > 1

    @property
    def races(self) -> bool:
        """ZeRO 1 or 2 with reduction on a stream of its own."""
        return self.stage in (1, 2) and self.overlap_comm and self.reduces

    @property
    def accumulates(self) -> bool:
        """More than one micro-batch a step, for certain."""
        return self.accumulation is not None and self.accumulation > 1


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownBad:
    """One fault of some DeepSpeed versions.

    Attributes:
        id: Stable name.
        first_bad: First release with it; None: unknown, long before the fix.
        fixed_in: First release without it; None: none yet.
        torch_since: It needs at least this torch; None: any.
        holds: The settings in which it can strike.
        path: The key, within the config, that lets it in.
        what: What happens, as the rest of a sentence that begins with "DeepSpeed X".
        source: Where it is written or was measured.
        certain: It always strikes there. Otherwise hardware, sizes or luck decide.
        told_by_config: The config tells whether it can strike; otherwise only the job's code or data do, and no config
            rule speaks of it.
        reproducible_on_cpu: Two gloo ranks show it.
        workaround: Keys within the config, and the values with which it does not strike.
    """

    id: str
    first_bad: str | None
    fixed_in: str | None
    holds: Callable[[Setting], bool]
    path: str
    what: str
    source: str
    torch_since: str | None = None
    certain: bool = False
    told_by_config: bool = True
    reproducible_on_cpu: bool = False
    workaround: dict[str, Any] = field(default_factory=dict)


_STAGE = "/zero_optimization/stage"
_OVERLAP = "/zero_optimization/overlap_comm"
_OFFLOAD = "/zero_optimization/offload_optimizer"
_NO_OVERLAP = {_OVERLAP: False}

TABLE: tuple[KnownBad, ...] = (
    KnownBad(
        id="last-micro-batch-only",
        first_bad="0.17.6",
        fixed_in="0.18.3",
        holds=lambda s: s.stage == 2 and s.accumulates and not s.offload_optimizer,
        path=_STAGE,
        what="keeps the gradient of the last micro-batch only: ZeRO-2 with gradient accumulation trains on a part of "
        "each batch, without a word (norm 0.649 instead of 0.907 with accumulation 2)",
        source="measured on 0.17.6 and 0.18.2; stage_1_and_2.py overwrites all_grad_tensors at every micro-step; "
        "deepspeedai/DeepSpeed issues 7718, 7749; huggingface/accelerate issue 3877",
        certain=True,
        reproducible_on_cpu=True,
    ),
    KnownBad(
        id="stage0-bf16-never-zeroed",
        first_bad="0.17.6",
        fixed_in="0.18.6",
        holds=lambda s: s.stage == 0 and s.precision == "bf16" and s.loop in ("ACCELERATE", "DEEPSPEED"),
        path="/bf16/enabled",
        what="never zeroes the gradients of a bf16 job at stage 0: every step adds those of all before it, and norms "
        "are reported times 65536",
        source="measured on 0.17.6 and 0.18.2; deepspeedai/DeepSpeed issue 7837, pull request 7839",
        certain=True,
        reproducible_on_cpu=True,
    ),
    KnownBad(
        id="stage0-bf16-norm-times-scale",
        first_bad="0.17.6",
        fixed_in="0.18.6",
        holds=lambda s: s.stage == 0 and s.precision == "bf16" and s.loop not in ("ACCELERATE", "DEEPSPEED"),
        path="/bf16/enabled",
        what="reports the gradient norms of a bf16 job at stage 0 times 65536, and leaves zeroing the gradients to the "
        "loop (the HF Trainer does it)",
        source="measured on 0.18.2: under the Trainer the weights go the way of 0.19.8; deepspeedai/DeepSpeed issue "
        "7837",
        reproducible_on_cpu=True,
    ),
    KnownBad(
        id="stage0-fp16-step-returns-early",
        first_bad="0.17.6",
        fixed_in="0.18.2",
        holds=lambda s: s.stage == 0 and s.precision == "fp16" and s.fused_adam,
        path="/fp16/enabled",
        what="returns from the step of a fp16 job at stage 0 with fused Adam before the weights are updated",
        source="deepspeedai/DeepSpeed pull requests 7515 and 7645, commit d56e847ba",
    ),
    KnownBad(
        id="trainer-divides-by-accumulation-again",
        first_bad="0.18.3",
        fixed_in="0.18.4",
        holds=lambda s: s.loop == "TRAINER" and s.accumulates,
        path="/gradient_accumulation_steps",
        what="divides the HF Trainer's gradients by the accumulation once more, below stage 3 twice (norm 0.066 "
        "instead of 1.06 with accumulation 4): it does not heed scale_wrt_gas=False",
        source="measured on 0.18.3; engine.py _backward_prologue_per_tensor of 0.18.3 and 0.18.4",
        certain=True,
        reproducible_on_cpu=True,
    ),
    KnownBad(
        id="every-output-divided-by-accumulation",
        first_bad="0.18.3",
        fixed_in="0.19.6",
        holds=lambda s: s.loop in ("ACCELERATE", "DEEPSPEED") and s.stage < 3 and s.accumulates,
        path="/gradient_accumulation_steps",
        what="divides the gradient by the accumulation at every output of the model: one that returns loss and logits, "
        "as those of transformers do, gets it twice (norm 0.72 instead of 1.44 with accumulation 2)",
        source="measured on 0.18.3, 0.18.8, 0.19.0 and 0.19.4 (0.19.6 is right); deepspeedai/DeepSpeed issue 8224, "
        "pull request 8245",
        reproducible_on_cpu=True,
    ),
    KnownBad(
        id="stage0-fp16-loss-not-scaled",
        first_bad="0.18.3",
        fixed_in=None,
        holds=lambda s: s.stage == 0 and s.precision == "fp16" and s.loss_scale != 1,
        path="/fp16/loss_scale",
        what="never scales the loss of a fp16 job at stage 0, but divides its gradients by the scale: what is left of "
        "them is next to nothing",
        source="measured on 0.18.3, 0.19.0 and 0.19.8 (0.18.2 is right); engine.py backward scales for ZeRO "
        "optimizers only",
        certain=True,
        reproducible_on_cpu=True,
        workaround={"/fp16/loss_scale": 1},
    ),
    KnownBad(
        id="offload-drops-micro-batches",
        first_bad="0.15.2",
        fixed_in="0.19.0",
        holds=lambda s: s.stage == 2 and s.offload_optimizer and (s.accumulation or 0) > 2,
        path=_OFFLOAD,
        what="loses all micro-batches but the first and the last of ZeRO-2 with an offloaded optimizer (norm 0.756 "
        "instead of 1.063 with accumulation 4)",
        source="measured on 0.18.2 and 0.18.3 (stage 1, and accumulation 2, are right); deepspeedai/DeepSpeed pull "
        "requests 6550 and 7967",
        certain=True,
        reproducible_on_cpu=True,
    ),
    KnownBad(
        id="non-contiguous-accumulation",
        first_bad=None,
        fixed_in="0.19.8",
        holds=lambda s: (
            s.stage in (1, 2) and not s.contiguous_gradients and s.accumulates and not s.offload_optimizer
        ),
        path="/zero_optimization/contiguous_gradients",
        what="adds micro-batches up wrongly without contiguous_gradients (norm 2.01 instead of 1.44 with "
        "accumulation 2)",
        source="measured on 0.15.4, 0.16.5, 0.17.5, 0.17.6, 0.18.2, 0.18.3, 0.19.0, 0.19.4 and 0.19.7 (0.19.8 is "
        "right)",
        certain=True,
        reproducible_on_cpu=True,
        workaround={"/zero_optimization/contiguous_gradients": True},
    ),
    KnownBad(
        id="bf16-optimizer-last-micro-batch-not-averaged",
        first_bad="0.18.6",
        fixed_in="0.19.0",
        holds=lambda s: (
            s.stage == 1
            and s.precision == "bf16"
            and s.accumulation_dtype == "fp32"
            and s.accumulates
            and s.reduces
        ),
        path="/data_types/grad_accum_dtype",
        what="reduces before the last micro-batch is added: at stage 1 with fp32 accumulation the ranks' last "
        "micro-batch is not averaged",
        source="deepspeedai/DeepSpeed pull request 7985, commit 5999fb069",
        workaround={"/data_types/grad_accum_dtype": "bf16"},
    ),
    KnownBad(
        id="inf-norm-becomes-nan-weights",
        first_bad="0.13.2",
        fixed_in="0.16.6",
        holds=lambda s: s.stage in (1, 2) and s.precision == "bf16" and s.clipping > 0,
        path="/gradient_clipping",
        what="turns one infinite gradient norm into a clipping factor of NaN, and the weights with it",
        source="deepspeedai/DeepSpeed pull requests 4974 and 7171, commit 1f706621f",
    ),
    KnownBad(
        id="fp16-scale-starts-too-high",
        first_bad=None,
        fixed_in="0.17.1",
        holds=lambda s: s.precision == "fp16" and s.stage > 0 and not s.given_fp16 - {"enabled", "auto_cast"},
        path="/fp16/initial_scale_power",
        what="starts the loss scale of a bare fp16 section at 2^31 instead of 2^16: the first dozen steps are skipped",
        source="measured on 0.15.4 and 0.16.5",
        reproducible_on_cpu=True,
        workaround={"/fp16/initial_scale_power": 16},
    ),
    KnownBad(
        id="stage3-lora-gather-dtype",
        first_bad="0.19.2",
        fixed_in="0.19.3",
        holds=lambda s: s.stage == 3 and s.peft and s.precision != "fp32" and s.reduces,
        path=_STAGE,
        what="fails at the first step of stage 3 with LoRA (`output tensor must have the same type as input tensor`): "
        "PEFT keeps the adapters in fp32",
        source="deepspeedai/DeepSpeed pull requests 8066, 8073 and 8113; TRL commit bf6a7b512",
    ),
    # --- races: hardware, sizes and luck decide ------------------------------------------------------------
    KnownBad(
        id="ipg-buffer-overwritten",
        first_bad=None,
        fixed_in="0.14.3",
        holds=lambda s: s.races and s.contiguous_gradients,
        path=_OVERLAP,
        what="may overwrite the gradient buffer before it was reduced: the loss explodes or becomes 0",
        source="deepspeedai/DeepSpeed issues 4298, 5523, 5545, pull request 5606",
        workaround=_NO_OVERLAP,
    ),
    KnownBad(
        id="multi-rank-bucket",
        first_bad="0.12.4",
        fixed_in="0.14.3",
        holds=lambda s: s.stage in (1, 2) and s.multi_rank_bucket and s.reduces,
        path="/zero_optimization/use_multi_rank_bucket_allreduce",
        what="may reduce a bucket of several ranks wrongly: gradient norm 1.0 and loss 0",
        source="deepspeedai/DeepSpeed issue 5242 (a user's bisect, seen up to 0.13.5), pull request 4695",
        workaround={"/zero_optimization/use_multi_rank_bucket_allreduce": False},
    ),
    KnownBad(
        id="double-buffer-swap",
        first_bad=None,
        fixed_in="0.17.5",
        holds=lambda s: s.races and s.contiguous_gradients,
        path=_OVERLAP,
        what="swaps its two gradient buffers without waiting: the loss becomes 0 after a few steps",
        source="deepspeedai/DeepSpeed issues 5347, 7188, pull requests 7371, 7805; hiyouga/LlamaFactory issue 8137",
        workaround=_NO_OVERLAP,
    ),
    KnownBad(
        id="overlap-buffer-freed-early",
        first_bad=None,
        fixed_in="0.19.0",
        holds=lambda s: s.races and s.stage == 2,
        path=_OVERLAP,
        what="may free gradient buffers while they are reduced: NaN after a few steps of ZeRO-2",
        source="deepspeedai/DeepSpeed pull request 7965",
        workaround=_NO_OVERLAP,
    ),
    KnownBad(
        id="compiled-producers-on-several-streams",
        first_bad=None,
        fixed_in="0.19.3",
        holds=lambda s: s.races and s.torch_compile,
        path=_OVERLAP,
        what="copies the gradients of a compiled model on several streams: NaN from the first step on",
        source="deepspeedai/DeepSpeed issue 8061, pull request 8080",
        workaround=_NO_OVERLAP,
    ),
    KnownBad(
        id="stage3-waits-for-the-wrong-stream",
        first_bad=None,
        fixed_in="0.18.8",
        torch_since="2.10",
        holds=lambda s: s.stage == 3 and s.overlap_comm and s.reduces,
        path=_STAGE,
        what="waits for the wrong stream under torch 2.10 and later: NaN in some weights after the first step of "
        "ZeRO-3",
        source="deepspeedai/DeepSpeed pull request 7898, commit be60451f6",
    ),
    # --- what the config does not tell ----------------------------------------------------------------------
    KnownBad(
        id="module-used-twice",
        first_bad="0.18.3",
        fixed_in="0.19.6",
        holds=lambda s: s.stage == 2 and s.precision == "bf16" and s.reduces,
        path=_STAGE,
        what="loses one branch's gradient where a module is used twice in a step",
        source="deepspeedai/DeepSpeed issue 8224 (reported up to 0.19.3), pull requests 7665 and 8245; the mark of "
        "the fix is in the source from 0.19.6 on; not reproduced",
        told_by_config=False,
    ),
    KnownBad(
        id="stage3-weights-garbage-as-loaded",
        first_bad="0.17.6",
        fixed_in="0.19.8",
        holds=lambda s: s.stage == 3 and s.loop == "TRAINER",
        path=_STAGE,
        what="leaves garbage or NaN in some weights that transformers loads under ZeRO-3, in four of ten runs",
        source="measured with transformers 5.23 and torch 2.13 on two gloo ranks: 0.17.6 and 0.18.2 do, 0.19.8 does "
        "not, the releases between were not run; a model built without zero.Init is right",
        told_by_config=False,
        reproducible_on_cpu=True,
    ),
    KnownBad(
        id="offload-several-backwards",
        first_bad="0.18.3",
        fixed_in="0.19.0",
        holds=lambda s: s.stage in (1, 2) and s.offload_optimizer and not s.accumulates,
        path=_OFFLOAD,
        what="keeps only the last of several backward passes of a step with an offloaded optimizer",
        source="deepspeedai/DeepSpeed pull requests 7665 and 7981",
        told_by_config=False,
    ),
    KnownBad(
        id="bf16-overflow-unchecked",
        first_bad=None,
        fixed_in="0.19.3",
        holds=lambda s: (
            s.stage == 2 and s.precision == "bf16" and not s.offload_optimizer and not s.bf16_overflow_check
        ),
        path="/bf16/check_grad_overflow",
        what="does not check bf16 gradients for overflow: one that becomes infinite destroys Adam's moments",
        source="deepspeedai/DeepSpeed pull requests 6976 and 8035, commit f0253c866",
        told_by_config=False,
        workaround={"/bf16/check_grad_overflow": True},
    ),
    KnownBad(
        id="nan-norm-printed-as-a-root",
        first_bad=None,
        fixed_in="0.19.7",
        holds=lambda s: s.stage in (1, 2),
        path=_STAGE,
        what="prints a NaN gradient norm as 1.0, 1.414 or 1.732: the square root of the number of parameter groups",
        source="deepspeedai/DeepSpeed issues 5242, 5347; utils.py mask_nan_or_inf_with_val_inplace",
        told_by_config=False,
        reproducible_on_cpu=True,
    ),
    KnownBad(
        id="groups-share-the-first-rate",
        first_bad=None,
        fixed_in="0.19.4",
        holds=lambda s: s.warm_up_without_maximum,
        path="/scheduler/params/warmup_max_lr",
        what="gives every parameter group the first one's rate where WarmupLR names no maximum",
        source="measured on 0.18.2; deepspeedai/DeepSpeed pull requests 7969 and 8171",
        told_by_config=False,
        reproducible_on_cpu=True,
    ),
)
