"""What one config rule says of a DeepSpeed text alone."""

from __future__ import annotations

from hotfire.rules.engine import Rule, judge
from hotfire.rules.evidence import Finding
from hotfire.static import static_evidence
from hotfire.v1 import spec_pb2

HEALTHY = """{
    "train_batch_size": 16,
    "train_micro_batch_size_per_gpu": 2,
    "gradient_clipping": 1.0,
    "bf16": {"enabled": true},
    "zero_optimization": {"stage": 2, "overlap_comm": true, "reduce_bucket_size": 5e8}
}"""


def lint(rule: type[Rule], text: str) -> list[Finding]:
    """The findings of the rule."""
    spec = spec_pb2.PreflightSpec()
    spec.deepspeed.config_json = text
    return judge(static_evidence(spec), rules=[rule()]).findings
