"""One fault each: rows, arguments and model configs, and the rules that must speak (and no other)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tests.unit.train_data.families import FAMILIES, Family
from tests.unit.train_data.specimens import chat

PLACES = (
    "France",
    "Spain",
    "Italy",
    "Norway",
    "Peru",
    "Kenya",
    "Japan",
    "Chile",
    "India",
    "Ghana",
    "Cuba",
    "Oman",
)
ENDED = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}A: {{ m['content'] }}{{ eos_token }}"
    "{% else %}{{ m['role'] }}: {{ m['content'] }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}A: {% endif %}"
)


@dataclasses.dataclass(kw_only=True)
class Job:
    """What is given to `families.look`."""

    rows: list[Any]
    training: dict[str, Any] = dataclasses.field(default_factory=lambda: {"assistant_only_loss": True})
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    content: bytes | None = None
    """The sample as it lies there, in place of `rows`."""
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    """Besides, in the model's folder."""


def healthy_chats(fam: Family) -> Job:
    """What most faults here are made from."""
    return Job(rows=chats())


@dataclasses.dataclass(kw_only=True)
class Bad:
    """A job with one fault, and the same job without it."""

    make: Callable[[Family], Job]
    rules: set[str]
    families: tuple[str, ...] = FAMILIES
    twin: Callable[[Family], Job] = healthy_chats
    informs: bool = False
    """The rules only inform: what they find is no fault of the job."""

    @property
    def name(self) -> str:
        return self.make.__name__.removeprefix("_")


def chats(num: int = 24) -> list[dict[str, Any]]:
    """Healthy conversations, each another."""
    return [
        chat(
            f"What is the capital of {place}? Answer number {i}.",
            f"The capital number {i} of {place} is a town.",
        )
        for i, place in zip(range(num), PLACES * 10, strict=False)
    ]


def pairs(fam: Family, *, gap: str = " ", num: int = 24) -> list[dict[str, Any]]:
    """Plain prompts and completions that end as this tokenizer ends."""
    end = fam.tokenizer.eos_token
    return [
        {
            "prompt": f"Question {i}: the capital of {place}?\nAnswer:",
            "completion": f"{gap}The town {i}.{end}",
        }
        for i, place in zip(range(num), PLACES * 10, strict=False)
    ]


def tokenized(fam: Family, num: int = 24) -> list[dict[str, Any]]:
    """The same conversations as ids, with the prompt masked."""
    rows = []
    for row in chats(num):
        whole, prompt = _ids(fam, row["messages"], False), _ids(fam, row["messages"][:1], True)
        rows.append({"input_ids": whole, "labels": [-100] * len(prompt) + whole[len(prompt) :]})
    return rows


def _ids(fam: Family, messages: list[dict[str, Any]], prompt: bool) -> list[int]:
    return list(
        fam.tokenizer.apply_chat_template(
            messages, add_generation_prompt=prompt, tokenize=True, return_dict=False
        )
    )


def _labels_all_ignored(fam: Family) -> Job:
    rows = tokenized(fam)
    return Job(rows=[{**row, "labels": [-100] * len(row["labels"])} for row in rows], training={})


def _hollow_rows(fam: Family) -> Job:
    control = [i for i in _ids(fam, chats(1)[0]["messages"], False) if i in fam.tokenizer.all_special_ids]
    row = {"input_ids": control, "labels": [-100] * len(control)}
    return Job(rows=[row] * 24, training={})


def _whole_answer_cut(fam: Family) -> Job:
    rows = [chat(f"{i} " + "What is the capital of France? " * 12, f"Paris {i}.") for i in range(24)]
    return Job(rows=rows, training={"assistant_only_loss": True, "max_length": 40})


def _part_of_the_answer_cut(fam: Family) -> Job:
    rows = [chat(f"Hello {i}", f"{i} " + "The sea is wide and blue and deep. " * 20) for i in range(24)]
    return Job(rows=rows, training={"assistant_only_loss": True, "max_length": 80})


def _no_end_token(fam: Family) -> Job:
    template = fam.tokenizer.chat_template
    for end in ("<|endoftext|>", "<|im_end|>", "<｜end▁of▁sentence｜>"):
        template = template.replace(end, "")
    return Job(rows=chats(), training={"assistant_only_loss": True, "chat_template": template})


def _end_token_outside_of_the_block(fam: Family) -> Job:
    template = fam.tokenizer.chat_template.replace(
        "<|endoftext|>{% endgeneration %}", "{% endgeneration %}<|endoftext|>"
    )
    return Job(rows=chats(), training={"assistant_only_loss": True, "chat_template": template})


def _two_bos(fam: Family) -> Job:
    template = "{{ bos_token }}" + fam.tokenizer.chat_template
    return Job(rows=chats(), training={"assistant_only_loss": True, "chat_template": template})


def _bos_inside_the_answer(fam: Family) -> Job:
    rows = []
    for row in tokenized(fam):
        first = next(i for i, label in enumerate(row["labels"]) if label != -100)
        bos = fam.tokenizer.bos_token_id
        rows.append({name: [*v[:first], bos, *v[first:]] for name, v in row.items()})
    return Job(rows=rows, training={})


def _id_out_of_range(fam: Family) -> Job:
    rows = tokenized(fam)
    rows[5]["input_ids"][3] = 500_000
    return Job(rows=rows, training={})


def _prompt_ends_with_a_space(fam: Family) -> Job:
    rows = [{"prompt": r["prompt"] + " ", "completion": r["completion"].strip()} for r in pairs(fam)]
    return Job(rows=rows, training={"completion_only_loss": True})


def _labels_shifted(fam: Family) -> Job:
    rows = [{**row, "labels": [*row["labels"][1:], -100]} for row in tokenized(fam)]
    return Job(rows=rows, training={})


def _header_is_trained(fam: Family) -> Job:
    template = fam.tokenizer.chat_template.replace("add_generation_prompt", "false")
    if fam.name == "glm":
        template = template.replace("<|assistant|>\n{% generation %}", "{% generation %}The assistant says: ")
    return Job(rows=chats(), training={"assistant_only_loss": True, "chat_template": template})


def _roles_of_sharegpt(fam: Family) -> Job:
    names = {"user": "human", "assistant": "gpt"}
    rows = [{"messages": [{**m, "role": names[m["role"]]} for m in row["messages"]]} for row in chats()]
    return Job(rows=rows)


def _user_twice(fam: Family) -> Job:
    rows = chats()
    for row in rows[:8]:
        row["messages"].insert(0, {"role": "user", "content": "Good morning, I have a question."})
    return Job(rows=rows)


def _answer_first(fam: Family) -> Job:
    rows = chats()
    for row in rows[:8]:
        row["messages"].insert(0, {"role": "assistant", "content": "Good morning, how can I help?"})
    return Job(rows=rows)


def _order_refused(fam: Family) -> Job:
    check = (
        "{% for m in messages %}{% if loop.index0 > 0 and m['role'] == messages[loop.index0 - 1]['role'] %}"
        "{{ raise_exception('Roles must alternate') }}{% endif %}{% endfor %}"
    )
    job = _user_twice(fam)
    job.training["chat_template"] = check + fam.tokenizer.chat_template
    return job


def _no_answer(fam: Family) -> Job:
    rows = chats()
    for row in rows[::2]:
        del row["messages"][1]
    return Job(rows=rows)


def _empty_answers(fam: Family) -> Job:
    rows = chats()
    for row in rows[:8]:
        row["messages"][1]["content"] = ""
    return Job(rows=rows)


def _malformed(fam: Family) -> Job:
    rows: list[Any] = chats()
    rows[3] = {"messages": "hello"}
    rows[7] = {"text": "no messages here"}
    return Job(rows=rows)


def _copies(fam: Family) -> Job:
    return Job(rows=[*chats(), *chats(8)])


def _typed_control_token(fam: Family) -> Job:
    rows = chats()
    for row in rows[:3]:
        row["messages"][0]["content"] += f" And what does {fam.marker()} mean?"
    return Job(rows=rows)


def _answer_column_dropped(fam: Family) -> Job:
    rows = [
        {"text": f"What is the capital of {place}, number {i}?", "answer": f"It is the town of {i}{i}."}
        for i, place in enumerate(PLACES)
    ]
    return Job(rows=rows, training={})


def _answer_beside_the_messages(fam: Family) -> Job:
    rows = [{"messages": row["messages"][:1], "response": row["messages"][1]["content"]} for row in chats()]
    return Job(rows=rows, training={})


def _template_of_another_family(fam: Family) -> Job:
    marker = "<|turn_{{ m['role'] }}|>\n"
    template = (
        "{% for m in messages %}"
        + marker
        + "{{ m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|turn_assistant|>\n{% endif %}"
    )
    return Job(rows=chats(), training={"assistant_only_loss": True, "chat_template": template})


def _nested_ids(fam: Family) -> Job:
    return Job(rows=[{"input_ids": [row["input_ids"]]} for row in tokenized(fam)], training={})


def _no_ids(fam: Family) -> Job:
    return Job(rows=[{"input_ids": [], "labels": []} for _ in range(24)], training={})


def _mojibake(fam: Family) -> Job:
    rows = chats()
    for row in rows[:4]:
        row["messages"][1]["content"] = "C'est un café très agréable.".encode().decode("latin-1")
    return Job(rows=rows)


def _packed_without_borders(fam: Family) -> Job:
    training = {
        "assistant_only_loss": True, "packing": True, "max_length": 256, "packing_strategy": "wrapped",
    }  # fmt: skip
    return Job(rows=chats(), training=training)


def _packed_on_opt(fam: Family) -> Job:
    config = {"model_type": "opt", "ffn_dim": 64, "word_embed_proj_dim": 32}
    training = {"assistant_only_loss": True, "packing": True, "max_length": 256}
    return Job(rows=chats(), training=training, config=config)


def _mask_thrown_away(fam: Family) -> Job:
    pads = {"glm": "<|observation|>", "deepseek": "<｜▁pad▁｜>", "smollm2": "<|endoftext|>"}
    training = {"assistant_only_loss": True, "collator": "LANGUAGE_MODELING"}
    if fam.name in pads:
        training["pad_token"] = pads[fam.name]
    return Job(rows=chats(), training=training)


def _mask_column_without_labels(fam: Family) -> Job:
    rows = [
        {"input_ids": r["input_ids"], "completion_mask": [int(x != -100) for x in r["labels"]]}
        for r in tokenized(fam)
    ]
    return Job(rows=rows, training={})


def _completion_only_on_messages(fam: Family) -> Job:
    return Job(rows=chats(), training={"completion_only_loss": True})


def _vocabulary_too_small(fam: Family) -> Job:
    used = max(max(row["input_ids"]) for row in tokenized(fam))
    return Job(rows=chats(), config={"vocab_size": max(used + 1, 300)})


def _pad_is_eos(fam: Family) -> Job:
    return Job(rows=chats(), training={"collator": "LANGUAGE_MODELING", "pad_token": fam.tokenizer.eos_token})


def _longer_than_the_positions(fam: Family) -> Job:
    rows = [chat(f"Hello {i}", f"{i} " + "The sea is wide and blue and deep. " * 20) for i in range(24)]
    return Job(
        rows=rows,
        training={"assistant_only_loss": True, "max_length": 2048},
        config={"max_position_embeddings": 64},
    )


def _lora_on_other_names(fam: Family) -> Job:
    return Job(
        rows=chats(),
        training={"assistant_only_loss": True, "peft": {"r": 2, "target_modules": ["query_key_value"]}},
    )


def _lora_partly_on_other_names(fam: Family) -> Job:
    peft = {"r": 2, "target_modules": ["q_proj", "W_pack"]}
    return Job(rows=chats(), training={"assistant_only_loss": True, "peft": peft})


def _lora_on_one_side_of_a_tie(fam: Family) -> Job:
    peft = {"r": 2, "target_modules": ["q_proj", "embed_tokens"]}
    return Job(rows=chats(), training={"assistant_only_loss": True, "peft": peft})


def _everything_frozen(fam: Family) -> Job:
    return Job(rows=chats(), training={"assistant_only_loss": True, "frozen": ["."]})


def _trains_what_is_not_there(fam: Family) -> Job:
    return Job(rows=chats(), training={"assistant_only_loss": True, "trainable": [r"transformer\.h\.1\."]})


# ---- healthy twins, where they are not plain conversations ----


def _labelled(fam: Family) -> Job:
    return Job(rows=tokenized(fam), training={})


def _pairs(fam: Family) -> Job:
    return Job(rows=pairs(fam), training={"completion_only_loss": True})


def _whole_answers(fam: Family) -> Job:
    return Job(
        rows=_part_of_the_answer_cut(fam).rows, training={"assistant_only_loss": True, "max_length": 1024}
    )


def _whole_prompts(fam: Family) -> Job:
    return Job(rows=_whole_answer_cut(fam).rows, training={"assistant_only_loss": True, "max_length": 1024})


def _text_with_its_answer(fam: Family) -> Job:
    rows = [
        {"text": f"{row['text']} {row['answer']}", "answer": row["answer"]}
        for row in _answer_column_dropped(fam).rows
    ]
    return Job(rows=rows, training={})


def _packed(fam: Family) -> Job:
    return Job(rows=chats(), training={"assistant_only_loss": True, "packing": True, "max_length": 256})


def _adapter(fam: Family) -> Job:
    peft = {"r": 2, "target_modules": ["q_proj", "v_proj"]}
    return Job(rows=chats(), training={"assistant_only_loss": True, "peft": peft})


def _own_pad_token(fam: Family) -> Job:
    return Job(rows=chats(), training={"collator": "PADDING", "pad_token": fam.tokenizer.eos_token})


def _short_of_the_positions(fam: Family) -> Job:
    job = _longer_than_the_positions(fam)
    return dataclasses.replace(job, config={"max_position_embeddings": 2048})


def _part_frozen(fam: Family) -> Job:
    return Job(rows=chats(), training={"assistant_only_loss": True, "frozen": ["embed_tokens"]})


# ---- faults of the file, of media, of the use of tokens ----


def _a_zip_archive(fam: Family) -> Job:
    return Job(rows=[], content=b"PK\x03\x04\x14\x00\x00\x00\x08\x00rows.jsonl" + bytes(range(256)) * 8)


def _nothing_but_blanks(fam: Family) -> Job:
    return Job(rows=[], content=b" \n\n  \n")


def _images(fam: Family, question: str) -> Job:
    rows = [{**row, "images": [f"{i}.png"]} for i, row in enumerate(chats())]
    for row in rows:
        row["messages"][0]["content"] = f"{question} {row['messages'][0]['content']}"
    (token,) = fam.tokenizer("#", add_special_tokens=False)["input_ids"]
    return Job(rows=rows, config={"image_token_id": token}, files={"preprocessor_config.json": "{}"})


def _image_without_placeholder(fam: Family) -> Job:
    return _images(fam, "Look.")


def _image_with_placeholder(fam: Family) -> Job:
    return _images(fam, "#")


def _mostly_padding(fam: Family) -> Job:
    rows = chats(40)
    for row in rows[::2]:
        row["messages"][1]["content"] += " The sea is wide and blue and deep." * 60
    return Job(rows=rows)


BAD = [
    Bad(make=_labels_all_ignored, rules={"D101"}, twin=_labelled),
    Bad(make=_hollow_rows, rules={"D101"}, twin=_labelled),
    Bad(make=_whole_answer_cut, rules={"D101", "D102"}, twin=_whole_prompts),
    Bad(make=_part_of_the_answer_cut, rules={"D102"}, twin=_whole_answers),
    Bad(make=_no_end_token, rules={"D103"}),
    Bad(make=_end_token_outside_of_the_block, rules={"D103"}, families=("glm",)),
    Bad(make=_two_bos, rules={"D104"}, families=("deepseek",)),
    Bad(make=_bos_inside_the_answer, rules={"D104"}, families=("deepseek",), twin=_labelled),
    Bad(make=_id_out_of_range, rules={"D105"}, twin=_labelled),
    Bad(
        make=_prompt_ends_with_a_space, rules={"D106"}, families=("qwen", "deepseek", "smollm2"), twin=_pairs
    ),
    Bad(make=_labels_shifted, rules={"D106"}, twin=_labelled),
    Bad(make=_header_is_trained, rules={"D106"}, families=("glm", "qwen", "smollm2")),
    Bad(make=_roles_of_sharegpt, rules={"D107"}),
    Bad(make=_user_twice, rules={"D108"}),
    Bad(make=_answer_first, rules={"D108"}),
    Bad(make=_order_refused, rules={"D108"}),
    Bad(make=_no_answer, rules={"D101", "D108"}),
    Bad(make=_empty_answers, rules={"D109"}),
    Bad(make=_malformed, rules={"D110"}),
    Bad(make=_copies, rules={"D111"}),
    Bad(make=_typed_control_token, rules={"D112"}),
    Bad(make=_answer_column_dropped, rules={"D113"}, twin=_text_with_its_answer),
    Bad(make=_answer_beside_the_messages, rules={"D113"}),
    Bad(make=_template_of_another_family, rules={"D114"}),
    Bad(make=_nested_ids, rules={"D114"}, twin=_labelled),
    Bad(make=_no_ids, rules={"D114"}, twin=_labelled),
    Bad(make=_mojibake, rules={"D115"}),
    Bad(make=_packed_without_borders, rules={"D116"}, twin=_packed),
    Bad(make=_packed_on_opt, rules={"D116"}, twin=_packed),
    Bad(make=_mask_thrown_away, rules={"D117"}),
    Bad(make=_mask_column_without_labels, rules={"D117"}, twin=_labelled),
    Bad(make=_completion_only_on_messages, rules={"D117"}),
    Bad(make=_vocabulary_too_small, rules={"M101"}, families=("glm", "deepseek")),
    Bad(make=_pad_is_eos, rules={"M102", "D103"}, twin=_own_pad_token),
    Bad(make=_longer_than_the_positions, rules={"M103"}, twin=_short_of_the_positions),
    Bad(make=_lora_on_other_names, rules={"M104"}, twin=_adapter),
    Bad(make=_lora_partly_on_other_names, rules={"M104"}, twin=_adapter),
    Bad(make=_lora_on_one_side_of_a_tie, rules={"M105"}, families=("qwen", "smollm2"), twin=_adapter),
    Bad(make=_everything_frozen, rules={"M106"}, twin=_part_frozen),
    Bad(make=_trains_what_is_not_there, rules={"M106"}, twin=_part_frozen),
    Bad(make=_a_zip_archive, rules={"D119"}),
    Bad(make=_nothing_but_blanks, rules={"D119"}),
    Bad(make=_image_without_placeholder, rules={"D120"}, twin=_image_with_placeholder),
    Bad(make=_mostly_padding, rules={"D118"}, informs=True),
]
