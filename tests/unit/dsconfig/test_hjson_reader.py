import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfire.dsconfig.hjson_reader import MAX_DEPTH, HjsonError, LineIndex, read

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)


@given(st.dictionaries(st.text(), VALUES), st.sampled_from([None, 2]), st.booleans())
def test_json_is_read_as_json_reads_it(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    reading = read(text)
    assert reading.value == value
    assert reading.not_json is None
    assert reading.duplicates == []


HJSON = [
    "a: 1\nb: {c: hi there, x\n d: [1 2\n 3]}\n",
    '{a:1,"b":2,}',
    '{\n# c\n"a": cpu,\n"b": 1e-5 # x\n}',
    "{\"a\": '''\n   hello\n   w\n   '''}",
    '{"a": /* x */ 1, // y\n "b": 2}',
    "{'a': 'it\\'s', \"b\": \"\\u00e9\\ud83d\\ude00\"}",
    '{"a": -1.5e+3, "b": null, "c": [true, false], "d": {}, "e": []}',
    "{\n  a: on\n  b: 0x10\n  c: 1.2.3\n}",
    "{\n  stage: 2\n  device: cpu\n}",
]


@pytest.mark.parametrize("text", HJSON)
def test_hjson_is_read_as_the_package_reads_it(text):
    hjson = pytest.importorskip("hjson")
    assert read(text).value == hjson.loads(text, object_pairs_hook=dict)


@pytest.mark.parametrize(
    "text", ["{", '{"a":}', '{"a" 1}', '{"a": "x\ny"}', "{a b: 1}", '{"a":1}}', "{a: [1, 2"]
)
def test_what_the_package_refuses_is_refused(text):
    hjson = pytest.importorskip("hjson")
    with pytest.raises(ValueError):
        hjson.loads(text + " ")
    with pytest.raises(HjsonError):
        read(text)


def test_nesting_is_limited():
    with pytest.raises(HjsonError, match="deeper"):
        read('{"a":' * (MAX_DEPTH + 5) + "1" + "}" * (MAX_DEPTH + 5))


def test_places_and_duplicates():
    text = '{\n  "a": {"b/c": 1},\n  "a": {"d~": [1, {"e": 2}]}\n}'
    reading = read(text)
    lines = LineIndex(text)
    at = {pointer: lines.position(offset) for pointer, offset in reading.offsets.items()}
    assert at == {
        "/a": (3, 3),
        "/a/d~0": (3, 9),
        "/a/d~0/0": (3, 16),
        "/a/d~0/1": (3, 19),
        "/a/d~0/1/e": (3, 20),
    }
    (duplicate,) = reading.duplicates
    assert lines.position(duplicate.first_offset)[0] == 2


def test_a_string_without_quotes_takes_the_rest_of_its_line():
    reading = read('{\n "device": cpu,\n "b": 1\n}')
    assert reading.value == {"device": "cpu,", "b": 1}
    assert reading.not_json[1] == "a string without quotes"


TOKENS = [
    "1",
    "-1",
    "01",
    "1.",
    "1.5e3",
    "1e",
    "true",
    "truex",
    "null,x",
    "tru",
    "-",
    "+1",
    "1_0",
    "0x1",
    "1 2",
]
ENDS = ["}", "\n}", " }", ",}", " \n}", "# c\n}", " // c\n}", "/* c */}", "\r\n}", "\t,\n}"]


@pytest.mark.parametrize("end", ENDS, ids=repr)
@pytest.mark.parametrize("token", TOKENS)
def test_a_token_is_read_as_the_package_reads_it(token, end):
    """Whatever follows it: most are read at once, the others character by character."""
    hjson = pytest.importorskip("hjson")
    text = f'{{"a": {token}{end}'
    try:
        expected = hjson.loads(text, object_pairs_hook=dict)
    except (ValueError, IndexError):
        with pytest.raises(HjsonError):
            read(text)
        return
    got = read(text).value
    assert got == expected or (got["a"] != got["a"] and expected["a"] != expected["a"])
