"""C117 zero3-moe-leaf."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.dsconfig.batch_size import number
from hotfire.dsconfig.effective import zero_stage
from hotfire.dsconfig.versions import parse
from hotfire.rules.config.common import config_of, place, put, value_at, version_of
from hotfire.rules.config.job import effective_config, library, model_config
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Severity

_LEAF = "/zero_optimization/leaf_module"
_GRANULARITY = "/zero_optimization/stage3_module_granularity_threshold"
_LEAF_SINCE = parse("0.18.0")
_FUSED_SINCE = parse("5.0.0")
_NUM_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
#: Model type -> class of its sparse block.
_BLOCKS = {
    "mixtral": "MixtralSparseMoeBlock",
    "qwen2_moe": "Qwen2MoeSparseMoeBlock",
    "qwen3_moe": "Qwen3MoeSparseMoeBlock",
    "qwen3_vl_moe": "Qwen3VLMoeTextSparseMoeBlock",
    "qwen3_next": "Qwen3NextSparseMoeBlock",
    "deepseek_v2": "DeepseekV2MoE",
    "deepseek_v3": "DeepseekV3MoE",
    "olmoe": "OlmoeSparseMoeBlock",
    "phimoe": "PhimoeSparseMoeBlock",
    "jamba": "JambaSparseMoeBlock",
    "glm4_moe": "Glm4MoeMoE",
    "ernie4_5_moe": "Ernie4_5_MoeSparseMoeBlock",
    "hunyuan_v1_moe": "HunYuanMoEV1Moe",
    "minimax": "MiniMaxSparseMoeBlock",
    "dots1": "Dots1MoE",
}
#: DeepSpeed registers these itself from 0.18.0 on, unless the config names others.
_BY_DEFAULT = ("mixtral", "qwen2_moe", "qwen3_moe")
#: All experts in one tensor in every version of transformers: no expert is a module that could be left out.
_FUSED = (
    "llama4",
    "llama4_text",
    "gpt_oss",
    "dbrx",
    "granitemoe",
    "granitemoeshared",
    "granitemoehybrid",
    "jetmoe",
)


class Zero3MoeLeaf(Rule):
    """A mixture of experts under ZeRO-3 whose sparse blocks are not registered as leaves.

    Why:
        Each expert is a module with weights of its own, gathered when it is called. An expert that gets no token on
        one rank is not called there, while the other ranks wait for it in a collective: the job hangs after some
        steps, without a word. A block that is registered as a leaf is gathered whole. transformers 5 keeps all
        experts of a block in one tensor, and does not hang.

    Example:
        `"model_type": "deepseek_v3"` under stage 3, transformers 4.

        Bad:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "zero_optimization": {"stage": 3}},
          "model_config": {"model_type": "deepseek_v3", "n_routed_experts": 64, "num_experts_per_tok": 8},
          "cluster": {"versions": {"transformers": "4.57.0"}}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "zero_optimization": {"stage": 2}},
          "model_config": {"model_type": "deepseek_v3", "n_routed_experts": 64, "num_experts_per_tok": 8},
          "cluster": {"versions": {"transformers": "4.57.0"}}
        }
        ```

    Fix:
        `"leaf_module": {"classes": ["DeepseekV3MoE"]}` in `zero_optimization` (DeepSpeed 0.18.0 and later), or
        `deepspeed.utils.set_z3_leaf_modules(model, [Block])` in the code, or stage 2.

    Source:
        deepspeedai/DeepSpeed pull requests 4966, 5008; hiyouga/LlamaFactory issues 1931, 1998, 2315, 3237;
        deepspeed/runtime/zero/leaf_module_config.py; failure F102.
    """

    id = "C117"
    name = "zero3-moe-leaf"
    severity = Severity.WARNING
    needs = ("config",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Counts the experts in config.json, then looks for what registers the block."""
        config, model = effective_config(evidence), model_config(evidence)
        if zero_stage(config) != 3:
            return
        if not model:
            raise Skip("the model's config.json was not given")
        kind, experts = _experts(model)
        if experts <= 1 or kind in _FUSED or _is_registered(evidence, config, kind):
            return
        transformers = library(evidence, "transformers")
        remote = bool(model.get("auto_map"))
        if transformers is not None and parse(transformers) >= _FUSED_SINCE and not remote:
            return
        block = _block(evidence, kind)
        hangs = (
            ""
            if transformers or remote
            else " transformers 5 is safe; give cluster.versions.transformers if it is that."
        )
        yield Finding(
            message=f"Stage 3 and {experts} experts a layer ({kind or 'the model'}), whose sparse block "
            f"({block or 'its class'}) is not registered as a leaf: an expert without a token on one rank makes the "
            f"others wait for ever.{hangs}",
            location=place(evidence, _LEAF),
            evidence={"model_type": kind, "experts": experts, "block": block, "transformers": transformers},
            fix=_fix(evidence, block),
            alternatives=[
                Fix(
                    description="Use stage 2, which leaves weights whole.",
                    patch=put(config_of(evidence), "/zero_optimization/stage", 2),
                )
            ],
        )


def _experts(model: dict[str, Any]) -> tuple[str, int]:
    """(model type, experts a layer) of the model or of its text part."""
    text = model.get("text_config")
    for part in (model, text if isinstance(text, dict) else {}):
        count = next((n for name in _NUM_EXPERTS if (n := number(part.get(name))) is not None), None)
        if count is not None:
            return str(part.get("model_type") or model.get("model_type") or ""), int(count)
    return str(model.get("model_type") or ""), 0


def _is_registered(evidence: Evidence, config: dict[str, Any], kind: str) -> bool:
    if (evidence.training or {}).get("deepspeed_moe_layer_cls_names"):
        return True
    if (number(value_at(config, _GRANULARITY)) or 0) > 0:
        return True
    leaf = value_at(config, _LEAF)
    if isinstance(leaf, dict) and (leaf.get("names") or leaf.get("name_suffixes")):
        return True
    classes = leaf.get("classes") if isinstance(leaf, dict) else None
    if classes is None:
        return kind in _BY_DEFAULT and parse(version_of(evidence)) >= _LEAF_SINCE
    named = [classes] if isinstance(classes, str) else classes
    block = _block(evidence, kind)
    return bool(named) if block is None else any(str(name).rpartition(".")[2] == block for name in named)


def _block(evidence: Evidence, kind: str) -> str | None:
    found = evidence.model.moe_modules if evidence.model is not None else []
    return found[0] if len(found) == 1 else _BLOCKS.get(kind)


def _fix(evidence: Evidence, block: str | None) -> Fix:
    in_code = (
        f"Call deepspeed.utils.set_z3_leaf_modules(model, [{block or 'the sparse block'}]) before training."
    )
    if block is None or parse(version_of(evidence)) < _LEAF_SINCE:
        return Fix(description=in_code)
    return Fix(
        description=f"Register {block} as a leaf.",
        patch=put(config_of(evidence), f"{_LEAF}/classes", [block]),
    )
