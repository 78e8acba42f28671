"""The lint against the real DeepSpeed: the corpus of public configs, and DeepSpeed's own tests."""

import copy
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks import lint_agreement
from tests.unit.dsconfig.deepspeed_cases import CASES, Case

from hotfire.dsconfig.positions import read_config
from hotfire.dsconfig.versions import KNOWN
from hotfire.rules.evidence import Severity

CORPUS = lint_agreement.CONFIGS
needs_corpus = pytest.mark.skipif(
    not (CORPUS / "truth.tsv").is_file(), reason=f"the folder of public configs is not there ({CORPUS.name})"
)
VERSIONS = (
    "0.14.5",
    "0.16.5",
    "0.16.6",
    "0.17.0",
    "0.17.1",
    "0.17.5",
    "0.18.3",
    "0.18.9",
    "0.19.6",
    "0.19.8",
)
# File (a part of its name) -> keys that are accepted and without effect (practice: silently ignored settings).
IGNORED = {
    "llm_embedder_data_deepspeed_stage2-offload": ["offload_optimizer"],
    "trlx_gptj_summarize": ["zero_optimization/offload_param"],
    "reward_model_ds_config_gpt_j": ["zero_optimization/offload_param"],
    "sft_ds_config_gptj": ["zero_optimization/offload_param"],
    "Qwen2-VL-Finetune__scripts_zero2_offload": ["zero_optimization/offload_param"],
    "hybrid_engine_config": ["zero_optimization/offload_param"],
    "ds_z3_fp8_config": ["comms_config", "monitor_config"],
    "segmentation_zero_configs_adam_zero1_amp": ["log"],
    "imagenet_config_ds_fp16_z1_config": ["cuda_visible_devices"],
}


@needs_corpus
def test_the_corpus_agrees() -> None:
    outcomes = lint_agreement.compare(CORPUS, VERSIONS)
    wrong = [(o.row.name, o.version) for o in outcomes if not o.agrees]
    assert set(wrong) <= set(lint_agreement.EXPLAINED), wrong
    assert len(wrong) <= 0.01 * len(outcomes)


@needs_corpus
def test_an_error_names_the_key_that_deepspeed_names() -> None:
    outcomes = lint_agreement.compare(CORPUS, ("0.17.4", "0.18.8", "0.19.8"))
    newest: dict[str, lint_agreement.Outcome] = {}
    for outcome in outcomes:
        if outcome.refused and outcome.row.verdict(outcome.version) != "NOTJSON":
            newest[outcome.row.name] = outcome  # the message is that of the newest refusal
    assert len(newest) >= 17
    assert [name for name, outcome in newest.items() if not outcome.names_the_key] == []


@needs_corpus
def test_what_is_silently_ignored_is_found() -> None:
    names = [row.name for row in lint_agreement.read_truth(CORPUS)]
    for part, keys in IGNORED.items():
        (name,) = [n for n in names if part in n]
        found = lint_agreement.lint((CORPUS / name).read_text(encoding="utf-8"), "0.17.0")
        at = [f.location.config_path for f in found if f.rule_id in ("C102", "C103") and f.location]
        assert [k for k in keys if f"/deepspeed/{k}" not in at] == [], name


@needs_corpus
def test_the_page_has_a_line_for_every_version() -> None:
    outcomes = lint_agreement.compare(CORPUS, ("0.17.0", "0.19.8"))
    text = lint_agreement.page(outcomes, 1.0)
    assert "| 0.17.0 | 110 | 104 | 6 | 0 | 0 |" in text
    assert "cuda_visible_devices" in text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_deepspeeds_own_cases(case: Case) -> None:
    found = lint_agreement.lint(case.text, KNOWN)
    errors = [f for f in found if f.severity is Severity.ERROR]
    assert bool(errors) is case.refused, [f.message for f in found]
    if case.key is not None:
        assert any((e.location.config_path or "").endswith(case.key) for e in errors if e.location)


@pytest.fixture(scope="module")
def real() -> Any:
    deepspeed = pytest.importorskip("deepspeed")
    if deepspeed.__version__.split("+")[0] != KNOWN:
        pytest.skip(f"the newest known DeepSpeed is {KNOWN}")
    from deepspeed.runtime.config import DeepSpeedConfig

    logging.disable(logging.CRITICAL)
    yield DeepSpeedConfig
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_cases_are_what_deepspeed_says(case: Case, real: Any, tmp_path: Any) -> None:
    path = tmp_path / "config.json"
    path.write_text(case.text, encoding="utf-8")
    try:
        real(str(path))
        refused = False
    except Exception:
        refused = True
    assert refused is case.refused


@needs_corpus
def test_the_corpus_and_the_installed_deepspeed(real: Any) -> None:
    """`auto` filled in by transformers, as where the truth was measured."""
    integration = pytest.importorskip("transformers.integrations.deepspeed")
    arguments = SimpleNamespace(
        world_size=1, per_device_train_batch_size=1, gradient_accumulation_steps=1, max_grad_norm=1.0,
        learning_rate=1e-4, adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8, weight_decay=0.0,
        save_on_each_node=False, fp16=False, bf16=False, fp16_full_eval=False, bf16_full_eval=False,
        get_warmup_steps=lambda _: 0,
    )  # fmt: skip
    model = SimpleNamespace(config=SimpleNamespace(hidden_size=64))

    class Filler(integration.HfTrainerDeepSpeedConfig):
        """Fills "auto", and does not compare literal values with these made-up arguments."""

        def fill_match(self, name: str, value: Any, hf_key: Any = None, must_match: bool = False) -> None:
            super().fill_match(name, value, hf_key, must_match=False)

    wrong = []
    for row in lint_agreement.read_truth(CORPUS):
        text = (CORPUS / row.name).read_text(encoding="utf-8")
        given = read_config(text).given
        if given is None:
            continue
        errors = [f for f in lint_agreement.lint(text, KNOWN) if f.severity is Severity.ERROR]
        # accelerate's loader wants a zero_optimization section; without one the filling is the same.
        loader = Filler({"zero_optimization": {}, **copy.deepcopy(given)})
        loader.trainer_config_process(arguments)
        loader.trainer_config_finalize(arguments, model, 10)
        filled = {key: value for key, value in loader.config.items() if key in given}
        if not {"train_batch_size", "train_micro_batch_size_per_gpu"} & set(filled):
            filled["train_micro_batch_size_per_gpu"] = 1  # a launcher's part
        try:
            real(filled)
            refused = False
        except Exception:
            refused = True
        if refused is not bool(errors):
            wrong.append((row.name, refused, [e.message for e in errors]))
    assert wrong == []
