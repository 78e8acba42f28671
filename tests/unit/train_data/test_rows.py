"""The sample through a real tokenizer: what the model will see of each row."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.train_data import specimens
from tests.unit.train_data.specimens import chat, make_tokenizer, write_rows

from hotfire.rules.evidence import DataEvidence, PrepareRequest
from hotfire_workers.train.data.encode import IGNORED
from hotfire_workers.train.rows import PreparedSample, TokenFacts, prepare_sample
from hotfire_workers.train.tokens import apply_arguments, end_token_ids

ONE = chat("What is the capital of France?", "Paris.")
TWO = chat("hello there", "I am fine", "how are you today?", "thank you.")
END, USER = 0, 4


def prepare(
    tmp_path: Path,
    rows: list[Any],
    training: dict[str, Any] | None = None,
    *,
    tokenizer: Any = None,
    template: str | None = specimens.GLM,
    **data: Any,
) -> PreparedSample:
    tokenizer = tokenizer or make_tokenizer(template)
    notes = apply_arguments(tokenizer, training or {})
    stop_ids = [0, 4, 6]
    tokens = TokenFacts(
        tokenizer=tokenizer,
        stop_ids=stop_ids,
        end_ids=end_token_ids(tokenizer, stop_ids),
        model_type="glm4",
        notes=notes,
    )
    path = write_rows(tmp_path / "rows.jsonl", rows)
    request = PrepareRequest(
        out_dir=str(tmp_path), model={}, data={"path": str(path), **data}, training=training or {}
    )
    return prepare_sample(request, tokens)


def evidence(*args: Any, **kwargs: Any) -> DataEvidence:
    return prepare(*args, **kwargs).evidence


def trained(data: DataEvidence, row: int = 0, tokenizer: Any = None) -> str:
    kept = [
        i
        for i, label in zip(data.rows[row].input_ids, data.rows[row].labels, strict=True)
        if label != IGNORED
    ]
    return (tokenizer or make_tokenizer()).decode(kept)


# ---- the mask of conversations ----


def test_no_mask_asked_for(tmp_path: Path) -> None:
    data = evidence(tmp_path, [ONE])
    (row,) = data.rows
    assert (data.format, data.mask_source, data.collator) == ("MESSAGES", "all", "PADDING")
    assert row.labels == row.input_ids
    assert row.num_supervised == row.num_tokens - 1  # position 0 is never predicted
    assert (row.prefix_ok, row.answer_text_matches) == (None, None)


def test_prefix_difference(tmp_path: Path) -> None:
    data = evidence(tmp_path, [ONE, TWO], {"assistant_only_loss": True})
    assert (data.mask_source, data.collator) == ("prefix", "COMPLETION")
    assert trained(data, 0) == "Paris."
    assert trained(data, 1) == "I am finethank you."
    assert [r.prefix_ok for r in data.rows] == [True, True]
    assert [r.answer_text_matches for r in data.rows] == [True, True]
    assert [r.has_end_token for r in data.rows] == [False, False]  # the plain GLM layout ends no answer


def test_generation_mask_equals_prefix_difference_but_for_the_end_tokens(tmp_path: Path) -> None:
    data = evidence(tmp_path, [ONE, TWO], {"assistant_only_loss": True}, template=specimens.GENERATION)
    assert data.mask_source == "generation"
    assert trained(data, 0) == "Paris.<|endoftext|>"
    assert trained(data, 1) == "I am fine<|endoftext|>thank you.<|endoftext|>"
    assert [(r.has_end_token, r.end_token_trained) for r in data.rows] == [(True, True)] * 2
    assert [r.answer_text_matches for r in data.rows] == [True, True]


def test_an_end_token_outside_of_the_generation_block_is_seen(tmp_path: Path) -> None:
    template = specimens.GENERATION.replace(
        "<|endoftext|>{% endgeneration %}", "{% endgeneration %}<|endoftext|>"
    )
    (row,) = evidence(tmp_path, [ONE], {"assistant_only_loss": True}, template=template).rows
    assert (row.has_end_token, row.end_token_trained) == (True, False)


def test_a_template_that_rewrites_earlier_turns_is_refused_there(tmp_path: Path) -> None:
    row = chat("hello", "<think>long</think>one", "and now", "two.")
    data = evidence(tmp_path, [row], {"assistant_only_loss": True}, template=specimens.THINKING)
    assert data.rows[0].prefix_ok is False
    assert trained(data) == "two."  # never a span of something else


def test_an_end_token_behind_the_last_turn_only_is_no_rewriting(tmp_path: Path) -> None:
    data = evidence(tmp_path, [TWO], {"assistant_only_loss": True}, template=specimens.GLM_WITH_END)
    assert trained(data) == "I am finethank you.<|endoftext|>"
    assert (data.rows[0].prefix_ok, data.rows[0].answer_text_matches) == (True, True)


def test_a_generation_prompt_that_the_template_lacks_trains_the_header(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% endfor %}"
    (row,) = evidence(tmp_path, [ONE], {"assistant_only_loss": True}, template=template).rows
    assert row.answer_text_matches is False


def test_the_language_modeling_collator_throws_the_mask_away(tmp_path: Path) -> None:
    training = {"assistant_only_loss": True, "collator": "LANGUAGE_MODELING"}
    data = evidence(tmp_path, [ONE], training)
    assert data.rows[0].num_supervised == data.rows[0].num_tokens - 1
    assert data.rows[0].answer_text_matches is False
    assert any("replaces the labels" in note for note in data.notes)


def test_the_language_modeling_collator_kills_an_end_token_that_is_the_pad_token(tmp_path: Path) -> None:
    training: dict[str, Any] = {"collator": "LANGUAGE_MODELING"}
    (same,) = evidence(tmp_path, [ONE], training, template=specimens.GLM_WITH_END).rows
    assert (same.input_ids[-1], same.has_end_token, same.end_token_trained) == (END, True, False)
    assert same.labels[-1] == IGNORED
    training["pad_token"] = "<|observation|>"
    (other,) = evidence(tmp_path, [ONE], training, template=specimens.GLM_WITH_END).rows
    assert (other.labels[-1], other.end_token_trained) == (END, True)
    training = {"collator": "PADDING"}
    (padding,) = evidence(tmp_path, [ONE], training, template=specimens.GLM_WITH_END).rows
    assert padding.end_token_trained is True


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("template", [specimens.GLM, specimens.GENERATION])
def test_add_special_tokens_renders_and_tokenises(tmp_path: Path, flag: bool, template: str) -> None:
    tokenizer = _with_bos(make_tokenizer(template, bos_token="<sop>"))
    training = {"assistant_only_loss": True, "add_special_tokens": flag}
    data = evidence(tmp_path, [chat("hello", "fine")], training, tokenizer=tokenizer)
    assert data.rows[0].input_ids[0] == (2 if flag else 1)
    assert data.mask_source == ("generation" if "generation %" in template else "prefix")
    assert trained(data).startswith("fine")
    assert data.rows[0].answer_text_matches is True


def test_two_leading_bos_are_counted(tmp_path: Path) -> None:
    template = specimens.GLM.replace("[gMASK]<sop>", "<sop>")
    tokenizer = _with_bos(make_tokenizer(template, bos_token="<sop>"))
    double = evidence(tmp_path, [ONE], {"add_special_tokens": True}, tokenizer=tokenizer)
    assert double.rows[0].num_leading_bos == 2
    assert double.extra["num_doubled_prefix_rows"] == 0  # one token twice is counted as that
    single = evidence(tmp_path, [ONE], {"add_special_tokens": False}, tokenizer=tokenizer)
    assert single.rows[0].num_leading_bos == 1


def test_a_bos_inside_the_answer_is_seen(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(bos_token="<sop>")
    rows = [ONE, chat("hello", "<sop>fine")]
    data = evidence(tmp_path, rows, {"assistant_only_loss": True}, tokenizer=tokenizer)
    assert [r.bos_in_answer for r in data.rows] == [False, True]
    assert data.extra["typed_special_tokens"] == [{"row": 2, "role": "assistant", "token": "<sop>"}]


def _with_bos(tokenizer: Any) -> Any:
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<sop> $A", special_tokens=[("<sop>", 2)]
    )
    return tokenizer


# ---- roles and templates ----


@pytest.mark.parametrize(
    ("template", "says"),
    [(specimens.STRICT, "refuses"), (specimens.DROPPING, "drops"), (specimens.GLM, "as it is")],
)
def test_unknown_roles_are_rejected_with_the_mapping_that_works(
    tmp_path: Path, template: str, says: str
) -> None:
    bad = {"messages": [{"role": "human", "content": "a"}, {"role": "gpt", "content": "b"}]}
    data = evidence(tmp_path, [ONE, bad, TWO], template=template)
    assert data.num_rows_usable == 2
    (rejected,) = data.rejected
    assert (rejected.row, rejected.kind) == (2, "unknown-role")
    assert says in rejected.reason
    assert "{human: user, gpt: assistant}" in rejected.reason
    assert data.extra["unknown_roles"] == {"human": 1, "gpt": 1}
    assert data.extra["role_suggestions"] == {"human": "user", "gpt": "assistant"}
    mapped = evidence(tmp_path, [bad], template=template, role_mapping={"human": "user", "gpt": "assistant"})
    assert mapped.num_rows_usable == 1


def test_a_role_with_a_token_of_its_own_is_known(tmp_path: Path) -> None:
    row = {"messages": [*ONE["messages"], {"role": "observation", "content": "x"}]}
    assert evidence(tmp_path, [row]).num_rows_usable == 1


def test_roles_out_of_order_are_listed(tmp_path: Path) -> None:
    rows = [
        ONE,
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
        chat("first", "b", first="assistant"),
    ]
    extra = evidence(tmp_path, rows).extra
    assert extra["same_role_twice_rows"] == [2]
    assert extra["no_assistant_rows"] == [2]
    assert extra["assistant_first_rows"] == [3]


def test_what_a_template_refuses_is_one_rejected_row(tmp_path: Path) -> None:
    template = specimens.GLM.replace(
        "{% if add", "{% if messages | length > 2 %}{{ raise_exception('too long') }}{% endif %}{% if add"
    )
    data = evidence(tmp_path, [ONE, TWO, ONE], template=template)
    assert [(r.row, r.kind) for r in data.rejected] == [(2, "template")]
    assert "too long" in data.rejected[0].reason
    assert data.num_rows_usable == 2


def test_a_refusal_tells_nothing_of_the_row(tmp_path: Path) -> None:
    template = "{{ raise_exception('cannot use ' + messages[-1]['content']) }}"
    data = evidence(tmp_path, [chat("hello", "my secret")], template=template)
    assert data.rejected[0].reason == "the chat template refuses the row: cannot use ..."


@pytest.mark.parametrize(
    ("template", "says"), [(None, "needs? a chat template"), ("{% for m in", "not valid Jinja")]
)
def test_no_usable_template(tmp_path: Path, template: str | None, says: str) -> None:
    data = evidence(tmp_path, [ONE], template=template)
    assert data.read_error is not None
    assert re.search(says, data.read_error)


def test_the_chat_template_of_the_arguments_wins(tmp_path: Path) -> None:
    data = evidence(tmp_path, [ONE], {"chat_template": "{{ messages[0]['content'] }}!"})
    assert trained(data) == "What is the capital of France?!"


def test_a_nested_list_of_ids_is_told(tmp_path: Path) -> None:
    """F01: a tokenizer whose apply_chat_template returns [[ids]]."""
    tokenizer = make_tokenizer()
    plain = tokenizer.apply_chat_template

    def nested(messages: Any, **how: Any) -> Any:
        out = plain(messages, **how)
        return [out] if isinstance(out, list) else out

    tokenizer.apply_chat_template = nested
    data = evidence(tmp_path, [ONE], tokenizer=tokenizer)
    assert data.rejected[0].kind == "nested-output"
    assert "nested list" in data.rejected[0].reason


def test_the_prefix_of_the_family_is_looked_for(tmp_path: Path) -> None:
    data = evidence(tmp_path, [ONE], template=specimens.GLM.replace("[gMASK]<sop>", ""))
    assert data.extra["expected_prefix"] == ["[gMASK]", "<sop>"]
    assert data.extra["missing_prefix_rows"] == [1]
    doubled = evidence(tmp_path, [ONE], template="[gMASK]<sop>" + specimens.GLM)
    assert doubled.extra["doubled_prefix_rows"] == [1]


# ---- other formats ----


def test_completion_only(tmp_path: Path) -> None:
    row = {"prompt": "The capital of France is", "completion": " Paris.<|endoftext|>"}
    data = evidence(tmp_path, [row], {"completion_only_loss": True})
    assert (data.format, data.mask_source) == ("PROMPT_COMPLETION", "completion")
    assert trained(data) == " Paris.<|endoftext|>"
    assert (data.rows[0].prefix_ok, data.rows[0].answer_text_matches) == (True, True)
    assert data.rows[0].end_token_trained is True
    assert evidence(tmp_path, [row]).mask_source == "all"
    assert evidence(tmp_path, [row], {"collator": "COMPLETION"}).mask_source == "completion"


def test_a_prompt_whose_tokens_are_no_prefix(tmp_path: Path) -> None:
    row = {"prompt": "The capital of Fran", "completion": "ce is Paris."}
    (prepared,) = evidence(tmp_path, [row], {"completion_only_loss": True}).rows
    assert prepared.prefix_ok is False


def test_conversational_completion(tmp_path: Path) -> None:
    row = {"prompt": TWO["messages"][:3], "completion": TWO["messages"][3:]}
    data = evidence(tmp_path, [row], {"completion_only_loss": True})
    assert trained(data) == "thank you."
    both = evidence(tmp_path, [row], {"completion_only_loss": True, "assistant_only_loss": True})
    assert trained(both) == "thank you."


def test_conversations_without_a_template_are_rejected(tmp_path: Path) -> None:
    row = {"prompt": TWO["messages"][:3], "completion": TWO["messages"][3:]}
    data = evidence(tmp_path, [row, {"prompt": "a", "completion": "b"}], template=None)
    assert data.num_rows_usable == 1
    assert "set training.chat_template" in data.rejected[0].reason


def test_empty_answers(tmp_path: Path) -> None:
    rows = [ONE, chat("hello", "  "), chat("hello", "")]
    data = evidence(tmp_path, rows, {"assistant_only_loss": True})
    assert [r.empty_answer for r in data.rows] == [False, True, True]


def test_text(tmp_path: Path) -> None:
    data = evidence(tmp_path, [{"text": "The sea is wide"}, {"text": ""}, {"text": "blue<|endoftext|>"}])
    assert (data.format, data.mask_source) == ("TEXT", "all")
    assert [(r.row, r.reason) for r in data.rejected] == [(2, "the row has no tokens")]
    assert [r.has_end_token for r in data.rows] == [False, True]


def test_tokenized_rows_keep_their_labels_and_mask(tmp_path: Path) -> None:
    rows = [
        {"input_ids": [5, 6, 7, 0], "labels": [-100, -100, 7, 0], "attention_mask": [1, 1, 1, 1]},
        {"input_ids": [5, 6], "labels": [-100, -100]},
    ]
    prepared = prepare(tmp_path, rows, {"max_length": 3})
    first, second = prepared.evidence.rows
    assert prepared.evidence.mask_source == "labels"
    assert (first.labels, first.num_supervised, first.num_supervised_untruncated) == ([-100, -100, 7], 1, 2)
    assert first.end_token_trained is True
    assert (second.num_supervised, second.has_end_token) == (0, None)
    assert {len(r["attention_mask"]) for r in prepared.batch_rows} == {3, 2}


def test_tokenized_rows_need_no_tokenizer(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "r.jsonl", [{"input_ids": [1, 2, 3]}, {"input_ids": "x"}])
    request = PrepareRequest(out_dir="", model={}, data={"path": str(path)}, training={})
    data = prepare_sample(request, TokenFacts(tokenizer=None)).evidence
    assert (data.num_rows_usable, len(data.rejected), data.mask_source) == (1, 1, "all")


def test_without_a_tokenizer_rows_are_still_read(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "r.jsonl", [ONE, {"messages": 1}])
    request = PrepareRequest(out_dir="", model={}, data={"path": str(path)}, training={})
    data = prepare_sample(request, TokenFacts(tokenizer=None)).evidence
    assert (data.format, data.num_rows_read, len(data.rejected), data.rows) == ("MESSAGES", 2, 1, [])
    assert any("not tokenised" in note for note in data.notes)


# ---- truncation ----


@pytest.mark.parametrize(("max_length", "supervised"), [(13, 0), (14, 1), (15, 2), (512, 3)])
def test_truncation_takes_the_answer(tmp_path: Path, max_length: int, supervised: int) -> None:
    data = evidence(tmp_path, [ONE], {"assistant_only_loss": True, "max_length": max_length})
    (row,) = data.rows
    assert (row.num_supervised, row.num_supervised_untruncated) == (supervised, 3)
    assert (row.first_supervised, row.last_supervised, row.num_tokens_untruncated) == (13, 15, 16)
    assert row.num_tokens == min(16, max_length)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), min_size=1, max_size=3),
    max_length=st.none() | st.integers(1, 80),
    side=st.sampled_from(["left", "right"]),
    training=st.sampled_from(
        [{}, {"assistant_only_loss": True}, {"collator": "LANGUAGE_MODELING"}, {"collator": "COMPLETION"}]
    ),
    template=st.sampled_from([specimens.GLM, specimens.GENERATION, specimens.GLM_WITH_END]),
)
def test_counts_agree_with_the_labels(
    tmp_path: Path,
    texts: list[tuple[str, str]],
    max_length: int | None,
    side: str,
    training: dict[str, Any],
    template: str,
) -> None:
    rows = [chat(*[t for pair in texts for t in pair])]
    data = evidence(
        tmp_path, rows, {**training, "max_length": max_length, "truncation_side": side}, template=template
    )
    for row in data.rows:
        assert row.num_tokens == len(row.input_ids) == len(row.labels)
        assert row.num_tokens == min(row.num_tokens_untruncated, max_length or row.num_tokens_untruncated)
        assert row.num_supervised == sum(label != IGNORED for label in row.labels[1:])
        assert row.num_supervised <= (row.num_supervised_untruncated or 0)
        assert all(label in (IGNORED, token) for token, label in zip(row.input_ids, row.labels, strict=True))
        if (
            max_length is None
            and training.get("collator") != "LANGUAGE_MODELING"
            and "assistant_only_loss" in training
        ):
            assert row.prefix_ok is not False
            assert row.answer_text_matches is not False
    json.dumps([r.reason for r in data.rejected])


# ---- the sample as a whole ----


def test_rejected_rows_never_stop_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f"{json.dumps(ONE)}\n\nnot json\n{json.dumps({'messages': 'x'})}\n{json.dumps(TWO)}\n")
    tokenizer = make_tokenizer()
    request = PrepareRequest(out_dir="", model={}, data={"path": str(path)}, training={})
    data = prepare_sample(request, TokenFacts(tokenizer=tokenizer)).evidence
    assert (data.num_rows_read, data.num_rows_usable) == (4, 2)
    assert [r.row for r in data.rejected] == [3, 4]
    assert [r.row for r in data.rows] == [1, 5]
    assert data.rejected[0].excerpt == "not json"


def test_no_line_that_is_json(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("just some\nprose\n")
    request = PrepareRequest(out_dir="", model={}, data={"path": str(path)}, training={})
    data = prepare_sample(request, TokenFacts(tokenizer=make_tokenizer())).evidence
    assert "No row of the sample can be read" in (data.read_error or "")


def test_notable_rows_come_first_and_are_shown(tmp_path: Path) -> None:
    rows = [TWO, ONE, chat("x " * 60, "y"), chat("a", "fine, thank you " * 2), ONE]
    prepared = prepare(tmp_path, rows, {"assistant_only_loss": True})
    assert [r["row"] for r in prepared.batch_rows] == [1, 3, 2, 4, 5]
    samples = prepared.evidence.samples
    assert samples[0].why == "first row"
    assert samples[1].why == "longest row, most masked row"
    text = "".join(t.text or "" for t in samples[0].tokens)
    assert text.startswith("[gMASK]<sop><|user|>\nhello there")
    assert "".join(t.text or "" for t in samples[0].tokens if t.trained) == "I am finethank you."
    assert len(prepared.views) == 5


def test_redacted_evidence_holds_no_text(tmp_path: Path) -> None:
    secret = chat("my secret", "is wide")
    data = evidence(tmp_path, [secret, {"messages": "secret"}], redact=True)
    assert data.samples[0].tokens[0].text is None
    assert all(r.excerpt is None for r in data.rejected)


def test_broken_text_is_counted(tmp_path: Path) -> None:
    rows = [ONE, chat("CafÃ© olÃ©", "a"), chat("a", "b\ufffdc"), chat("Café à l’île", "ça")]
    extra = evidence(tmp_path, rows).extra
    assert extra["mojibake_rows"] == [2]
    assert extra["replacement_character_rows"] == [3]


def test_only_so_many_rows_are_read(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "r.jsonl", [ONE] * 30)
    request = PrepareRequest(out_dir="", model={}, data={"path": str(path)}, training={}, max_rows=10)
    data = prepare_sample(request, TokenFacts(tokenizer=make_tokenizer())).evidence
    assert data.num_rows_read == 10
    assert any("first 10 were read" in note for note in data.notes)


def test_a_slow_tokenizer_uses_the_prefix_difference(tmp_path: Path) -> None:
    """A tokenizer in Python cannot tell where characters went, so {% generation %} is of no use with it."""
    tokenizer = specimens.make_slow_tokenizer(specimens.GENERATION)
    data = evidence(tmp_path, [ONE], {"assistant_only_loss": True}, tokenizer=tokenizer)
    assert data.mask_source == "prefix"
    assert trained(data, tokenizer=tokenizer).replace(" ", "") == "Paris.<|endoftext|>"


def test_an_id_that_the_tokenizer_does_not_have_is_seen(tmp_path: Path) -> None:
    ids = [*make_tokenizer()("the sea")["input_ids"], 500_000]
    view = prepare(tmp_path, [{"input_ids": ids}]).evidence.samples[0]
    assert view.tokens[-1].text == "<500000>"
