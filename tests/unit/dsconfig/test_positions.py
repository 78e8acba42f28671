from hotfire.dsconfig.positions import from_mapping, read_config


def kinds(text):
    return [problem.kind for problem in read_config(text).problems]


def test_a_good_text():
    config = read_config('{\n  "zero_optimization": {"stage": 2}\n}')
    assert config.given == {"zero_optimization": {"stage": 2}}
    assert config.problems == []
    assert config.positions["/zero_optimization/stage"] == (2, 25)


def test_kinds_of_problems():
    assert kinds("") == ["syntax"]
    assert kinds("{") == ["syntax"]
    assert kinds("[]") == ["not-an-object"]
    assert kinds('{"a": 1, "a": 2}') == ["duplicate-key"]
    assert kinds('{"a": 1,}') == ["hjson-only"]
    assert kinds('{"a": {{ a }}}') == ["placeholder"]
    assert kinds('{"a": "${A}", "b": "<batch size>"}') == ["placeholder", "placeholder"]


def test_paths_and_names_are_no_placeholders():
    assert kinds('{"nvme_path": "${TMPDIR}", "job_name": "<mine>", "_comment": "{{ x }}"}') == []


def test_a_template_is_not_a_config():
    assert read_config('{\n"a": BATCH_SIZE,\n"b": 1}').given is None
    assert read_config('{"a": "${A}"}').given == {"a": "${A}"}, (
        "valid JSON: the other rules can look at the rest"
    )


def test_python_words_are_only_text():
    config = read_config('{\n"a": True,\n"b": None\n}')
    assert config.given == {"a": "True,", "b": "None"}
    assert [p.kind for p in config.problems] == ["hjson-only"]


def test_never_raises():
    for text in (
        "\ufeff{}",
        "{\x00}",
        '{"a": ' * 5000,
        "'",
        "a" * 10_000,
        '{"\\ud800": 1}',
        "{:}",
        "]",
        "''' x",
    ):
        read_config(text)


def test_a_mapping_becomes_canonical_text():
    config = from_mapping({"bf16": {"enabled": True}, "lr": float("inf")})
    assert config.positions["/bf16/enabled"] == (3, 5)
    assert config.given == {"bf16": {"enabled": True}, "lr": float("inf")}
