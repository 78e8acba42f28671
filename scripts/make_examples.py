"""Writes the models, tokenizers and data files of `examples/` (all committed; run it after a change of the texts).

    python scripts/make_examples.py

Needs the `train` extra. Everything is made from scripts/examples/*.txt; nothing is downloaded.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parent.parent
TEXTS = Path(__file__).resolve().parent / "examples"
EXAMPLES = ROOT / "examples"

GLM_SPECIALS = [
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>",
    "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>",
]  # fmt: skip

# The layout of GLM-4 with the marks that tell a trainer which tokens are the assistant's, and with the
# end token inside them, so that the model learns to stop.
GLM_TEMPLATE = (
    "[gMASK]<sop>{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "<|assistant|>\n{% generation %}{{ message['content'] }}<|endoftext|>{% endgeneration %}"
    "{% else %}<|{{ message['role'] }}|>\n{{ message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def passages() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(title, text, [(question, answer)])."""
    found: list[tuple[str, str, list[tuple[str, str]]]] = []
    for line in (TEXTS / "passages.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            found.append((line[3:], "", []))
        elif line.startswith("#"):
            continue
        elif " | " in line:
            question, answer = line.split(" | ", 1)
            found[-1][2].append((question, answer))
        elif line:
            found[-1] = (found[-1][0], line, found[-1][2])
    return found


def grounded_rows(num_passages: int, seed: int) -> list[dict]:
    """Questions over a handful of passages: long prompts, short answers, as in retrieval-augmented chat."""
    chooser = random.Random(seed)
    known = passages()
    rows = []
    for title, text, pairs in known:
        for question, answer in pairs:
            others = chooser.sample([p for p in known if p[0] != title], num_passages - 1)
            shown = [(title, text), *((t, x) for t, x, _ in others)]
            chooser.shuffle(shown)
            context = "\n\n".join(f"{t}\n{x}" for t, x in shown)
            rows.append(
                {
                    "messages": [
                        {"role": "system", "content": "Answer from the passages alone, in one sentence."},
                        {"role": "user", "content": f"{context}\n\n{question}"},
                        {"role": "assistant", "content": answer},
                    ]
                }
            )
    chooser.shuffle(rows)
    return rows


def chat_rows() -> list[dict]:
    """Short conversations."""
    lines = (TEXTS / "chats.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" | ", 1) for line in lines if not line.startswith("#")]
    return [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in pairs
    ]


def write_rows(name: str, rows: list[dict]) -> None:
    """One JSON object a line."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (EXAMPLES / name / "data.jsonl").write_text(text, encoding="utf-8")


def glm_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE with GLM-4's special tokens, trained on the passages."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=GLM_SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [
        t for title, text, pairs in passages() for t in (title, text, *(x for pair in pairs for x in pair))
    ]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=GLM_SPECIALS[1:],
        padding_side="left",
        model_max_length=4096,
        chat_template=GLM_TEMPLATE,
    )


def write_glm(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """The architecture of glm-4-9b-chat, four small layers; no weights (`init: random`)."""
    folder = EXAMPLES / name / "model"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config = AutoConfig.for_model(
        "glm",
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=4096,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=[
            tokenizer.convert_tokens_to_ids(t) for t in ("<|endoftext|>", "<|user|>", "<|observation|>")
        ],
        bos_token_id=None,
        tie_word_embeddings=False,
        dtype="bfloat16",
        architectures=["GlmForCausalLM"],
    )
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n")


def main() -> None:
    tokenizer = glm_tokenizer()
    for name in ("glm4-loss-zero", "glm4-healthy", "fp16-overflow", "lora-no-gradient"):
        (EXAMPLES / name).mkdir(parents=True, exist_ok=True)
        write_glm(name, tokenizer)
    write_rows("glm4-loss-zero", grounded_rows(num_passages=4, seed=1))
    for name in ("glm4-healthy", "fp16-overflow", "lora-no-gradient"):
        write_rows(name, grounded_rows(num_passages=1, seed=2))
    write_rows("smollm2-real", chat_rows())


if __name__ == "__main__":
    main()
