import dataclasses
import enum
import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfire import spec as specs
from hotfire import wire
from hotfire._conveniences import duration, size
from hotfire._document import read_document
from hotfire.errors import SpecError
from hotfire.v1 import spec_pb2

DEEPSPEED = {"zero_optimization": {"stage": 2}}


def load(**parts):
    given = {"model": {"hub_id": "org/m"}, "data": [{"text": "a"}], "deepspeed": DEEPSPEED} | parts
    return specs.load(given)


def violations(document, **options):
    with pytest.raises(SpecError) as raised:
        specs.load(document, **options)
    return {v.field: v for v in raised.value.violations}


# --- Conveniences ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (300, "300s"),
        ("300", "300s"),
        ("300s", "300s"),
        ("5m", "300s"),
        ("1h30m", "5400s"),
        ("500ms", "0.5s"),
        (0.25, "0.25s"),
    ],
)
def test_durations(value, seconds):
    assert duration(value) == seconds


@pytest.mark.parametrize(
    "value", ["5 parsecs", "", "m5", "-3s", -3, True, None, [], float("nan"), float("inf")]
)
def test_no_durations(value):
    assert duration(value) is None


@given(st.integers(0, 10**6))
def test_durations_mean_the_same_in_every_unit(n):
    assert duration(f"{n}m") == duration(n * 60) == duration(f"{n * 60}s")


@pytest.mark.parametrize(
    ("value", "num_bytes"),
    [
        (5, 5),
        ("5", 5),
        ("80GiB", 80 * 2**30),
        ("80 GB", 80 * 10**9),
        ("1.5KiB", 1536),
        ("2kB", 2000),
        ("7B", 7),
    ],
)
def test_sizes(value, num_bytes):
    assert size(value) == num_bytes


@pytest.mark.parametrize("value", ["80 parsec", "80G", "-1GiB", "", True, None, 1.5, "GiB"])
def test_no_sizes(value):
    assert size(value) is None


@given(st.text(max_size=12))
def test_no_text_breaks_the_units(text):
    assert size(text) is None or size(text) >= 0
    duration(text)


def test_conveniences_in_a_spec():
    loaded = load(
        training={"loop": "DeepSpeed", "collator": "COLLATOR_PADDING", "logging_steps": 5, "other": {"x": 1}},
        cluster={"gpu_memory_bytes": "80GiB"},
        plan={"time_budget": "5m", "queue_timeout": 30},
    )
    spec = loaded.message()
    assert spec.training.loop == spec_pb2.LOOP_DEEPSPEED
    assert spec.training.collator == spec_pb2.COLLATOR_PADDING
    assert wire.value_to_python(spec.training.other["logging_steps"]) == 5
    assert wire.value_to_python(spec.training.other["x"]) == 1
    assert spec.cluster.gpu_memory_bytes == 80 * 2**30
    assert spec.plan.time_budget.seconds == 300
    assert spec.plan.queue_timeout.seconds == 30
    assert json.loads(spec.deepspeed.config_json) == DEEPSPEED


def test_zero_and_false_are_values():
    spec = load(training={"warmup_steps": 0, "bf16": False}, plan={"verify_fixes": False}).message()
    assert spec.training.HasField("warmup_steps")
    assert spec.training.HasField("bf16")
    assert not spec.training.HasField("fp16")
    assert spec.plan.HasField("verify_fixes")


# --- Where things are -----------------------------------------------------------------------------------------


def test_strings_for_models(tmp_path):
    (tmp_path / "near").mkdir()

    def model(text):
        given = {"model": text, "data": [], "deepspeed": DEEPSPEED}
        return specs.load(given, base=tmp_path)

    assert model("org/name").spec.model.hub_id == "org/name"
    assert model("s3://bucket/m").spec.model.uri == "s3://bucket/m"
    assert model("near").spec.model.path == str(tmp_path / "near")
    assert model("./near").model_path == tmp_path / "near"
    far = model("/only/there")
    assert far.spec.model.path == "/only/there"
    assert far.model_path is None
    as_worker_sees = model({"path": str(tmp_path / "near")})
    assert not as_worker_sees.model_is_local
    assert model({"path": "near", "init": "random"}).model_is_local


def test_relative_paths_start_at_the_file(job, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    loaded = specs.load(job)
    assert loaded.path == job / "hotfire.yaml"
    assert loaded.spec.model.path == str(job / "model")
    assert loaded.data_path == job / "data.jsonl"
    assert loaded.deepspeed_path == job / "ds_config.json"
    assert {job, tmp_path, job / "model"} <= set(loaded.roots())


def test_the_deepspeed_text_is_sent_as_it_stands(job):
    text = '{"a": 1, "a": 2, // hjson\n}'
    (job / "ds_config.json").write_text(text)
    assert specs.load(job).spec.deepspeed.config_json == text


@pytest.mark.parametrize("form", [{"config": DEEPSPEED}, DEEPSPEED, {"config_json": json.dumps(DEEPSPEED)}])
def test_forms_of_deepspeed(form):
    assert json.loads(load(deepspeed=form).spec.deepspeed.config_json) == DEEPSPEED


def test_a_deepspeed_key_named_config_among_others_is_a_key():
    loaded = load(deepspeed={"config": {}, "bf16": {}})
    assert json.loads(loaded.spec.deepspeed.config_json) == {"config": {}, "bf16": {}}


def test_what_is_not_there_is_said_at_once(tmp_path):
    found = violations({"model": "./none", "data": "none.jsonl", "deepspeed": "none.json"}, base=tmp_path)
    assert set(found) == {"model", "data", "deepspeed"}
    assert str(tmp_path / "none.jsonl") in found["data"].description


def test_folders_and_files_that_are_no_spec(tmp_path):
    with pytest.raises(SpecError, match=r"holds no hotfire\.yaml"):
        specs.load(tmp_path)
    with pytest.raises(SpecError, match="there is no file"):
        specs.load(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="UTF-8"):
        specs.load(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(SpecError, match="must be a mapping"):
        specs.load(tmp_path / "x.yaml")


# --- All errors, with their place -------------------------------------------------------------------------------

WRONG = """\
model: org/m
data: [{text: hi}, 3]
deepspeed:
  zero_optimization: {stage: 2}
training:
  learnig_rate: 2.0e-4
  bf16: perhaps
  max_steps: 1.5
cluster:
  gpu_memory_bytes: 80 parsec
  versions: {deepspeed: 0.19}
plan:
  stages: [0, one]
  time_budget: soon
plann: {}
"""


def test_every_error_has_its_line_and_value(tmp_path):
    path = tmp_path / "hotfire.yaml"
    path.write_text(WRONG)
    found = violations(path)
    assert {field: v.line for field, v in found.items()} == {
        "data.rows[1]": 2,
        "training.learnig_rate": 6,
        "training.bf16": 7,
        "training.max_steps": 8,
        "cluster.gpu_memory_bytes": 10,
        "cluster.versions.deepspeed": 11,
        "plan.stages[1]": 13,
        "plan.time_budget": 14,
        "plann": 15,
    }
    assert "'learning_rate'" in found["training.learnig_rate"].description
    assert "'plan'" in found["plann"].description
    assert found["training.learnig_rate"].value == "0.0002"
    assert "perhaps" in str(found["training.bf16"])


def test_json_and_yaml_give_the_same_spec_and_places(tmp_path):
    document = {
        "model": "org/m",
        "data": [{"text": 'ü\n\t"x"'}],
        "deepspeed": DEEPSPEED,
        "training": {"max_steps": 3, "peft": {"r": 8, "target_modules": ["q"]}},
    }
    text = json.dumps(document, indent=1)
    (tmp_path / "a.json").write_text(text)
    (tmp_path / "a.yaml").write_text(text)
    assert specs.load(tmp_path / "a.json").message() == specs.load(tmp_path / "a.yaml").message()
    assert read_document(text, path=tmp_path / "a.json").positions == read_document(text).positions


def test_duplicate_keys_are_errors(tmp_path):
    for name, text in (("a.yaml", "plan: {}\nplan: {}\n"), ("a.json", '{"plan": {},\n"plan": {}}')):
        (tmp_path / name).write_text(text)
        found = violations(tmp_path / name)
        assert found["plan"].line == 2
        assert "twice" in found["plan"].description


@pytest.mark.parametrize(
    "text", ["model: [", '{"a": ', "a: b: c", "&a [*a]", "x: !!python/object:os.system {}"]
)
def test_broken_files_are_spec_errors(tmp_path, text):
    for name in ("a.yaml", "a.json"):
        (tmp_path / name).write_text(text)
        with pytest.raises(SpecError):
            specs.load(tmp_path / name)


def test_aliases_cannot_explode(tmp_path):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    document = read_document("\n".join(lines))
    assert document.problems


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_the_json_reader_reads_what_json_reads(value):
    from pathlib import Path

    for indent in (None, 2):
        document = read_document(json.dumps(value, indent=indent), path=Path("x.json"))
        assert document.data == value
        assert not document.problems


@settings(max_examples=80)
@given(st.text(alphabet=string.printable, max_size=60))
def test_no_text_breaks_the_loaders(text):
    from pathlib import Path

    for path in (Path("x.json"), None):
        document = read_document(text, path=path)
        assert document.problems or document.data is None or isinstance(document.data, object)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["model", "data", "deepspeed", "training", "cluster", "plan", "x"]),
        json_values,
        max_size=7,
    )
)
def test_any_mapping_is_a_spec_or_a_spec_error(document):
    try:
        loaded = specs.load(document)
    except SpecError:
        return
    assert isinstance(loaded.message(), spec_pb2.PreflightSpec)


# --- Overrides --------------------------------------------------------------------------------------------------


def test_set_changes_the_spec(job):
    loaded = specs.load(
        job,
        overrides=[
            "training.max_steps=7",
            "/deepspeed/zero_optimization/stage=3",
            "plan.pool=gpu",
            "cluster.versions.deepspeed=0.18.2",
            "model.init=random",
            "data.redact=true",
        ],
    )
    spec = loaded.spec
    assert spec.training.max_steps == 7
    assert spec.training.max_length == 32
    assert json.loads(spec.deepspeed.config_json)["zero_optimization"]["stage"] == 3
    assert spec.plan.pool == "gpu"
    assert spec.cluster.versions["deepspeed"] == "0.18.2"
    assert spec.model.init == spec_pb2.INIT_RANDOM
    assert loaded.model_path == job / "model"
    assert spec.data.redact
    assert loaded.data_path == job / "data.jsonl"


@pytest.mark.parametrize(
    "override", ["training", "=3", "training..x=1", "training.max_steps.x=1", "trainig.lr=1"]
)
def test_bad_overrides(job, override):
    assert violations(job, overrides=[override])


# --- Python objects ---------------------------------------------------------------------------------------------


class Kind(enum.Enum):
    COSINE = "cosine"


@dataclasses.dataclass
class Arguments:
    """What a TrainingArguments object looks like from outside."""

    output_dir: str | None = None
    per_device_train_batch_size: int = 8
    learning_rate: float = 5e-5
    lr_scheduler_type: Kind = Kind.COSINE
    logging_steps: int = 500
    eval_steps: float | None = None
    hub_token: str | None = None
    bf16: bool = False
    max_seq_length: int | None = None
    deepspeed: object = None
    custom: object = None


def test_training_arguments_objects():
    arguments = Arguments(
        output_dir="/x",
        logging_steps=7,
        hub_token="secret",
        max_seq_length=128,
        custom=object(),
        deepspeed=DEEPSPEED,
    )
    loaded = specs.build(model="org/m", data=[], training=arguments)
    training = loaded.spec.training
    assert training.per_device_train_batch_size == 8
    assert training.lr_scheduler_type == "cosine"
    assert training.max_length == 128
    assert training.loop == spec_pb2.LOOP_TRAINER
    assert dict(training.other).keys() == {"logging_steps"}
    assert json.loads(loaded.spec.deepspeed.config_json) == DEEPSPEED
    assert b"secret" not in loaded.spec.SerializeToString()


def test_what_an_object_cannot_say():
    from hotfire import training_arguments

    class Lora:
        def to_dict(self):
            return {"r": 8, "target_modules": {"v_proj", "q_proj"}, "task_type": Kind.COSINE}

    loaded = specs.build(
        model="org/m",
        data=[],
        deepspeed=DEEPSPEED,
        training=training_arguments(Arguments(), max_length=64, peft=Lora()),
    )
    assert loaded.spec.training.max_length == 64
    peft = wire.struct_to_dict(loaded.spec.training.peft)
    assert peft == {"r": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "cosine"}


def test_files_of_arguments(tmp_path):
    (tmp_path / "args.yaml").write_text("max_steps: 5\nsave_steps: 10\n")
    training = load(training=str(tmp_path / "args.yaml")).spec.training
    assert training.max_steps == 5
    assert set(training.other) == {"save_steps"}


def test_rows_of_any_kind_and_what_cannot_be_sent():
    class Array:
        def tolist(self):
            return [1, 2]

    loaded = specs.build(model="org/m", data=[{"ids": Array()}], deepspeed=DEEPSPEED)
    assert loaded.rows == [{"ids": [1, 2]}]
    found = violations({"model": "org/m", "data": [{"image": b"png"}], "deepspeed": DEEPSPEED})
    assert found["data.rows[0].image"].description.startswith("a bytes cannot be sent")


def test_a_long_data_set_is_cut_not_read_to_its_end():
    def rows():
        for i in range(10**9):
            yield {"text": str(i)}

    assert len(specs.build(model="org/m", data=rows(), deepspeed=DEEPSPEED).rows) == specs.MAX_ROWS


def test_row_texts_do_not_stand_in_errors():
    found = violations(
        {"model": "org/m", "data": {"rows": ["my secret text"]}, "deepspeed": DEEPSPEED, "training": {"x": 1}}
    )
    assert "secret" not in "".join(map(str, found.values()))


@pytest.mark.slow
def test_the_names_are_those_of_transformers(monkeypatch):
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    from hotfire._training import OTHER_NAMES, typed_names

    transformers = pytest.importorskip("transformers")
    names = {f.name for f in dataclasses.fields(transformers.TrainingArguments)}
    assert names <= OTHER_NAMES | set(typed_names())
    arguments = transformers.TrainingArguments(output_dir="x", learning_rate=1e-3, save_steps=7, use_cpu=True)
    training = specs.build(model="org/m", data=[], deepspeed=DEEPSPEED, training=arguments).spec.training
    assert training.learning_rate == 1e-3
    # __post_init__ fills in some more.
    assert {"save_steps", "use_cpu"} <= set(training.other)
