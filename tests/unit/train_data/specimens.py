"""Real tiny models and tokenizers for these tests."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

SPECIALS = ["<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]

GLM = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""The GLM-4 layout: nothing ends the last answer."""
GLM_WITH_END = GLM.replace(
    "{% if add_generation_prompt %}",
    "{% if not add_generation_prompt and messages[-1]['role'] == 'assistant' %}<|endoftext|>{% endif %}"
    "{% if add_generation_prompt %}",
)
"""The same, with an end token behind the last answer."""
GENERATION = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m['role'] }}|>\n"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<|endoftext|>{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""Marks the assistant's tokens itself, the end token included."""
STRICT = (
    "[gMASK]<sop>{% for m in messages %}{% if m['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('Unexpected role ' + m['role']) }}{% endif %}"
    "<|{{ m['role'] }}|>\n{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
DROPPING = (
    "[gMASK]<sop>{% for m in messages %}{% if m['role'] in ['system', 'user', 'assistant'] %}"
    "<|{{ m['role'] }}|>\n{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
THINKING = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m['role'] }}|>\n"
    "{% if not loop.last and '</think>' in m['content'] %}{{ m['content'].split('</think>')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""Takes the reasoning out of earlier turns: the prefix test fails there."""

_CORPUS = [
    "What is the capital of France? The capital of France is Paris.",
    "Write a short poem about the sea. The sea is wide and blue and deep.",
    "hello there, how are you today? I am fine, thank you. user assistant system",
    "def add(a, b): return a + b  # 0 1 2 3 4 5 6 7 8 9",
]


@lru_cache
def backend() -> str:
    """A byte-level BPE trained here, with the special tokens of GLM-4, as tokenizer.json."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(_CORPUS * 4, trainer)
    return tokenizer.to_str()


def make_tokenizer(template: str | None = GLM, **special: Any) -> Any:
    """A fast tokenizer in the GLM-4 layout."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokens = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", **special}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(backend()),
        additional_special_tokens=[t for t in SPECIALS if t not in tokens.values()],
        **{name: token for name, token in tokens.items() if token is not None},
    )
    tokenizer.chat_template = template
    return tokenizer


def write_model(
    folder: Path,
    *,
    template: str | None = GLM,
    weights: bool = True,
    tokenizer: Any = None,
    num_layers: int = 2,
    vocab_size: int = 400,
    **config: Any,
) -> Path:
    """A tiny GLM-4 in `folder`: config.json, tokenizer, and weights where asked for."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    made = AutoConfig.for_model(
        config.pop("model_type", "glm4"),
        **{
            "vocab_size": vocab_size,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": num_layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 512,
            "pad_token_id": 0,
            "eos_token_id": [0, 4, 6],
            **config,
        },
    )
    if weights:
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(made).save_pretrained(folder)
    else:
        made.architectures = ["Glm4ForCausalLM"]
        made.save_pretrained(folder)
    (tokenizer or make_tokenizer(template)).save_pretrained(folder)
    return folder


def chat(*turns: str, first: str = "user", system: str | None = None) -> dict[str, Any]:
    """A row of messages: user and assistant in turn."""
    other = {"user": "assistant", "assistant": "user"}[first]
    messages = [{"role": (first, other)[i % 2], "content": text} for i, text in enumerate(turns)]
    return {"messages": ([{"role": "system", "content": system}] if system else []) + messages}


def write_rows(path: Path, rows: list[Any]) -> Path:
    """JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_slow_tokenizer(template: str) -> Any:
    """A tokenizer in Python, one id per byte."""
    from transformers import PreTrainedTokenizer

    class Characters(PreTrainedTokenizer):
        def __init__(self, **kwargs: Any):
            super().__init__(**kwargs)

        @property
        def vocab_size(self) -> int:
            return 256

        def get_vocab(self) -> dict[str, int]:
            return {chr(i): i for i in range(256)} | self.added_tokens_encoder

        def _tokenize(self, text: str, **_: Any) -> list[str]:
            return [chr(b) for b in text.encode()]

        def _convert_token_to_id(self, token: str) -> int:
            return ord(token)

        def _convert_id_to_token(self, index: int) -> str:
            return chr(index)

        def convert_tokens_to_string(self, tokens: list[str]) -> str:
            return "".join(tokens)

    tokenizer = Characters(eos_token="<|endoftext|>", additional_special_tokens=SPECIALS[1:])
    tokenizer.chat_template = template
    return tokenizer
