import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfire.dsconfig.edit import EditError, edit
from hotfire.dsconfig.hjson_reader import read
from hotfire.patch import apply_patch
from hotfire.rules.evidence import PatchOperation

TEXT = """{
    // what we found to work
    "train_batch_size": "32",   # all ranks
    "zero_optimisation": {
        "stage": 2,             /* not 3 */
        "offload_param": {"device": "cpu"},
        "overlap_comm": true    // last
    },
    "fp16": {"enabled": false, "loss_scale": 0},
    "bf16": {}
}
"""


def op(kind, path, value=None):
    return PatchOperation(op=kind, path="/deepspeed" + path, value=value)


def test_a_value_is_replaced_and_nothing_else():
    new = edit(TEXT, [op("replace", "/train_batch_size", 32)])
    assert new == TEXT.replace('"32"', "32")


def test_a_rename_keeps_place_and_body():
    value = read(TEXT).value["zero_optimisation"]
    new = edit(TEXT, [op("remove", "/zero_optimisation"), op("add", "/zero_optimization", value)])
    assert new == TEXT.replace("zero_optimisation", "zero_optimization")


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("/train_batch_size", '    "train_batch_size": "32",   # all ranks\n', ""),
        ("/zero_optimisation/offload_param", '        "offload_param": {"device": "cpu"},\n', ""),
        ("/fp16/loss_scale", ', "loss_scale": 0', ""),
        ("/fp16/enabled", '"enabled": false, ', ""),
        ("/bf16", ',\n    "bf16": {}', ""),
        ("/zero_optimisation/offload_param/device", '{"device": "cpu"}', "{}"),
    ],
)
def test_a_member_is_removed_with_its_comma_its_line_and_its_comment(path, old, new):
    assert TEXT.count(old) == 1
    assert edit(TEXT, [op("remove", path)]) == TEXT.replace(old, new)


def test_the_last_member_takes_the_comma_before_it_along():
    new = edit(TEXT, [op("remove", "/zero_optimisation/overlap_comm")])
    assert '{"device": "cpu"}\n    },' in new


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("/gradient_clipping", 1.0, '    "bf16": {},\n    "gradient_clipping": 1.0\n}'),
        (
            "/zero_optimisation/reduce_bucket_size",
            5,
            '"overlap_comm": true,    // last\n        "reduce_bucket_size": 5\n    },',
        ),
        ("/fp16/hysteresis", 2, '"loss_scale": 0, "hysteresis": 2}'),
        ("/bf16/enabled", True, '"bf16": {\n        "enabled": true\n    }\n}'),
        ("/optimizer/params/lr", 1e-05, '"optimizer": {\n        "params": {\n            "lr": 1e-05\n'),
    ],
)
def test_a_member_is_added_in_the_style_of_its_section(path, value, line):
    assert line in edit(TEXT, [op("add", path, value)])


def test_small_and_foreign_layouts():
    assert edit("{}", [op("add", "/a", 1)]) == '{"a": 1}'
    assert edit('{"a": 1}', [op("add", "/b", {"c": 2})]) == '{"a": 1, "b": {"c": 2}}'
    assert edit('{"a": 1,}', [op("remove", "/a")]) == "{}"
    assert edit('{\r\n  "a": 1\r\n}', [op("add", "/b", 2)]) == '{\r\n  "a": 1,\r\n  "b": 2\r\n}'
    assert edit('{\n  "a": 1,\n}', [op("add", "/b", 2)]) == '{\n  "a": 1,\n  "b": 2,\n}'
    assert edit("{\n  a: x\n}", [op("add", "/b", 2)]) == '{\n  a: x\n  "b": 2\n}'
    assert edit("{\n  a: x  # no comment\n}", [op("replace", "/a", 2)]) == "{\n  a: 2\n}"
    assert edit('{"a": [1, 2, 3]}', [op("remove", "/a/1")]) == '{"a": [1, 3]}'


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ('{"a": 1}', op("remove", "/b")),
        ('{"a": 1}', PatchOperation(op="replace", path="/training/bf16", value=True)),
        ("a: 1", op("add", "/b", 2)),
        ('{"a": {"b": 1}', op("remove", "/a")),
    ],
)
def test_what_cannot_be_done_in_place_is_refused(text, operation):
    with pytest.raises(EditError):
        edit(text, [operation])


_SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab,:{}[]#/\"'\\\n", max_size=4)
_OBJECTS = st.recursive(
    st.dictionaries(st.sampled_from("abcd"), _SCALARS, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner | _SCALARS | st.lists(_SCALARS, max_size=2)),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(config=_OBJECTS, data=st.data(), indent=st.sampled_from([None, 2, "\t"]))
def test_any_change_of_any_json_is_made_exactly(config, data, indent):
    text = json.dumps(config, indent=indent)
    pointers = [p for p in read(text).spans if p and not p.rpartition("/")[2].isdigit()]
    if pointers and data.draw(st.booleans()):
        pointer = data.draw(st.sampled_from(pointers))
        kind = data.draw(st.sampled_from(["replace", "remove"]))
        change = op(kind, pointer, data.draw(_OBJECTS))
    else:
        change = op("add", "/new/one", data.draw(_OBJECTS))
    wanted = apply_patch({"deepspeed": config}, [change])["deepspeed"]
    assert json.loads(edit(text, [change])) == wanted
