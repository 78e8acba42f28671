"""Files of each tool as specs: its own examples (`real/`), and files with its keys and our values (`files/`)."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest

from hotfire import adapters, static, wire
from hotfire.adapters.ms_swift_configs import NAMES, named_config
from hotfire.adapters.write import TEMPLATE, to_yaml
from hotfire.cli import app
from hotfire.dsconfig import positions
from hotfire.errors import SpecError
from hotfire.rules.engine import judge
from hotfire.rules.evidence import Cluster, Evidence, Outcome, Severity
from hotfire.spec import load

FILES = Path(__file__).parent / "files"
TOOLS = {
    "llamafactory_": "LLaMA-Factory",
    "axolotl_": "axolotl",
    "swift_": "ms-swift",
    "accelerate_": "accelerate",
    "trl_": "TRL",
    "hf_": "TrainingArguments",
}
CASES = sorted(p.name for p in FILES.iterdir() if p.name.startswith(tuple(TOOLS)))
REAL = Path(__file__).parent / "real"
_FOLDERS = [FILES, REAL, *(Path(more) for more in (os.environ.get("HOTFIRE_ADAPTER_EXAMPLES"),) if more)]
EVERY = sorted(p for folder in _FOLDERS for p in folder.iterdir() if p.name.startswith(tuple(TOOLS)))


def keys_of(path):
    """The keys of a file, read without any of our code."""
    text = path.read_text()
    if path.suffix == ".sh":
        command = re.sub(r"\\\n", " ", text)[text.index("swift sft") :]
        launch = re.findall(r"(?:^|\s)(NPROC_PER_NODE|NNODES)=", text)
        return {name.replace("-", "_") for name in re.findall(r"(?<=\s)--([\w-]+)", command)} | {
            name.lower() for name in launch
        }
    import yaml

    return set(yaml.safe_load(text))


def tool_of(path):
    return next(tool for prefix, tool in TOOLS.items() if path.name.startswith(prefix))


def training_of(name):
    return adapters.read(FILES / name).document["training"]


def test_there_are_three_of_each_tool():
    assert {prefix: sum(c.startswith(prefix) for c in CASES) for prefix in TOOLS} == dict.fromkeys(TOOLS, 3)


@pytest.mark.parametrize("path", EVERY, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_key_is_mapped_or_listed_as_ignored(path):
    adapted = adapters.read(path)
    assert adapted.tool == tool_of(path) or (path.name == "hf_run_clm.json" and adapted.tool == "TRL")
    told = {
        key
        for key in adapted.mapped.keys() | adapted.ignored.keys()
        if not key.startswith("deepspeed_config.")
    }
    assert told == keys_of(path)
    assert not adapted.mapped.keys() & adapted.ignored.keys()
    assert all(adapted.ignored.values())
    assert "hf_" not in json.dumps(adapted.document)  # no token leaves the file


@pytest.mark.parametrize("name", CASES)
def test_the_spec_file_loads_and_reaches_a_verdict(name, tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"hidden_size": 64}')
    (tmp_path / "rows.jsonl").write_text((FILES / "rows.jsonl").read_text())
    monkeypatch.chdir(tmp_path)
    assert app.run(["init", "--from", str(FILES / name)]) == 0
    overrides = ['model={"path": "./model"}', 'data={"uri": "./rows.jsonl"}']
    adapted = adapters.read(FILES / name)
    if "deepspeed" in adapted.missing or not_found(adapted):
        overrides.append('deepspeed={"train_batch_size": 16}')
    loaded = load("hotfire.yaml", overrides=overrides)
    judgement = static.judge_static(static.static_evidence(loaded.spec))
    assert judgement.verdict
    assert [check for check in judgement.checks if check.outcome is Outcome.ERROR] == []


def not_found(adapted):
    return any(note.startswith("deepspeed:") for note in adapted.notes)


def test_llamafactory():
    adapted = adapters.read(FILES / "llamafactory_full_sft.yaml")
    document = adapted.document
    assert document["model"] == {"hub_id": "org/base-8b", "trust_remote_code": True}
    assert document["data"] == {
        "uri": str(FILES / "lf_data/answers.json"),
        "format": "alpaca",
        "columns": {"instruction": "q", "output": "a"},
    }
    assert document["deepspeed"] == str(FILES / "ds_config.json")
    training = document["training"]
    assert "peft" not in training
    assert training["max_length"] == 2048
    assert training["gradient_checkpointing"] is True
    assert any("only answers of 2" in note for note in adapted.notes)
    chat = adapters.read(FILES / "llamafactory_lora_ds3.yaml").document
    assert chat["data"]["format"] == "sharegpt"
    assert chat["data"]["role_mapping"] == {"human": "user", "gpt": "assistant"}
    assert chat["training"]["peft"] == {
        "r": 16,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "target_modules": ["q_proj", "v_proj"],
        "modules_to_save": ["embed_tokens", "lm_head"],
    }
    assert chat["training"]["learning_rate"] == 1e-4
    assert chat["training"]["gradient_checkpointing"] is False
    assert chat["training"]["attn_implementation"] == "flash_attention_2"
    assert (chat["training"]["packing"], chat["training"]["neat_packing"]) == (True, False)
    pretrain = adapters.read(FILES / "llamafactory_pretrain.yaml")
    assert pretrain.document["training"]["packing"] is True
    assert pretrain.document["training"]["packing_strategy"] == "wrapped"
    assert "assistant_only_loss" not in pretrain.document["training"]
    assert pretrain.missing == ["data", "deepspeed"] or "uri" not in pretrain.document["data"]
    assert pretrain.ignored["hub_token"] == "a secret"


def test_axolotl():
    document = adapters.read(FILES / "axolotl_fft.yaml").document
    training = document["training"]
    assert document["data"] == {"hub_id": "org/instructions", "format": "alpaca"}
    assert training["learning_rate"] == 2e-5  # YAML 1.1 reads 2e-5 as text
    assert (training["per_device_train_batch_size"], training["num_train_epochs"]) == (1, 1)
    assert training["optim"] == "paged_adamw_8bit"
    assert training["bf16"] is True
    assert training["packing"] is True
    assert training["pad_token"] == "<|end_of_text|>"
    assert training["attn_implementation"] == "flash_attention_2"
    assert training["assistant_only_loss"] is True
    chat = adapters.read(FILES / "axolotl_lora_chat.yaml")
    assert chat.document["data"] == {
        "uri": str(FILES / "rows.jsonl"),
        "format": "sharegpt",
        "role_mapping": {"gpt": "assistant", "model": "assistant", "human": "user"},
    }
    assert chat.document["training"]["peft"] == {
        "r": 32,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "target_modules": "all-linear",
        "modules_to_save": ["embed_tokens", "lm_head"],
        "use_rslora": True,
    }
    assert "deepspeed: deepspeed_configs/zero3_bf16.json was not found here" in chat.notes
    corpus = adapters.read(FILES / "axolotl_qlora.yml").document
    assert corpus["data"] == {"hub_id": "org/corpus", "format": "text", "columns": {"text": "body"}}
    assert corpus["training"]["lr_scheduler_type"] == "cosine"
    assert corpus["training"]["trainable"] == ["model.layers.3[0-1].*"]


def test_ms_swift():
    document = adapters.read(FILES / "swift_lora.sh").document
    assert document["data"] == {"hub_id": "org/alpaca-zh"}
    assert document["training"]["peft"] == {
        "r": 8,
        "target_modules": "all-linear",
        "lora_alpha": 32,
        "lora_dropout": 0.05,
    }
    assert document["training"]["gradient_accumulation_steps"] == 16
    offload = adapters.read(FILES / "swift_zero3_offload.sh")
    zero = offload.document["deepspeed"]["zero_optimization"]
    assert (zero["stage"], zero["zero_hpz_partition_size"]) == (3, 4)
    assert offload.document["training"]["gradient_accumulation_steps"] == 8
    assert zero["offload_param"] == {"device": "cpu", "pin_memory": True}
    assert offload.document["cluster"] == {"num_gpus": 8, "num_nodes": 2}
    training = offload.document["training"]
    assert training["learning_rate"] == 1e-5
    assert training["frozen"] == [r"^visual\."]
    assert training["trainable"] == [r"model\.layers\.3\d"]
    assert training["assistant_only_loss"] is False
    assert "peft" not in training
    arguments = adapters.read(FILES / "swift_args.json").document
    assert arguments["training"]["peft"]["target_modules"] == "^model.*proj$"
    assert arguments["training"]["fp16"] is True
    assert arguments["training"]["learning_rate"] == 1e-4
    assert arguments["data"]["columns"] == {"prompt": "question"}


@pytest.mark.parametrize("name", NAMES)
def test_the_named_configs_of_ms_swift_are_accepted(name):
    config = named_config(name)
    assert config["zero_optimization"]["stage"] == int(name[4])
    evidence = Evidence(
        config=positions.from_mapping(config),
        training={"loop": "TRAINER", "bf16": True},
        cluster=Cluster(num_gpus=8),
        spec={"deepspeed": config, "training": {"loop": "TRAINER", "bf16": True}},
    )
    found = judge(evidence, only=lambda rule: rule.category == "config").findings
    assert [f.message for f in found if f.severity is Severity.ERROR] == []
    config["zero_optimization"]["stage"] = 9
    assert named_config(name)["zero_optimization"]["stage"] != 9


def test_accelerate():
    adapted = adapters.read(FILES / "accelerate_zero3.yaml")
    assert adapted.document["cluster"] == {"num_gpus": 16, "num_nodes": 2}
    assert adapted.document["training"] == {
        "bf16": True,
        "gradient_accumulation_steps": 4,
        "loop": "accelerate",
    }
    config = adapted.document["deepspeed"]
    assert config["zero_optimization"]["offload_param"] == {"device": "cpu"}
    assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert config["gradient_clipping"] == 1.0
    assert adapted.missing == ["model", "data"]
    by_file = adapters.read(FILES / "accelerate_file.yaml")
    assert by_file.document["deepspeed"] == str(FILES / "ds_config.json")
    assert "deepspeed_config.zero_stage" in by_file.ignored
    assert "does not use DeepSpeed" in adapters.read(FILES / "accelerate_multi_gpu.yaml").notes[0]


def test_what_accelerate_itself_makes_of_it(monkeypatch):
    """The written-out config is that of accelerate's own plugin."""
    accelerate = pytest.importorskip("accelerate.utils.dataclasses")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    plugin = accelerate.DeepSpeedPlugin(
        gradient_accumulation_steps=4,
        gradient_clipping=1.0,
        zero_stage=3,
        offload_optimizer_device="none",
        offload_param_device="cpu",
        zero3_save_16bit_model=True,
    )
    ours = adapters.read(FILES / "accelerate_zero3.yaml").document["deepspeed"]
    theirs = {k: v for k, v in plugin.deepspeed_config.items() if k != "steps_per_print"}
    for section in ("offload_optimizer", "offload_param"):
        theirs["zero_optimization"][section] = {
            k: v for k, v in theirs["zero_optimization"][section].items() if v is not None
        }
    assert {k: v for k, v in ours.items() if k != "zero_allow_untested_optimizer"} == theirs


def test_trl_and_plain_arguments():
    training = training_of("trl_sft.yaml")
    assert (training["bf16"], training["max_length"], training["eos_token"]) == (True, 1024, "<|im_end|>")
    lora = adapters.read(FILES / "trl_lora.yaml").document
    assert lora["training"]["peft"]["target_modules"] == "all-linear"
    assert lora["training"]["peft"]["lora_dropout"] == 0.05
    completion = adapters.read(FILES / "trl_completion.json").document
    assert completion["data"] == {"uri": str(FILES / "rows.jsonl"), "columns": {"text": "body"}}
    assert "peft" not in completion["training"]
    assert "bf16" not in completion["training"]
    plain = training_of("hf_arguments.yaml")
    assert plain["learning_rate"] == 5e-5
    assert plain["neftune_noise_alpha"] == 5
    script = adapters.read(FILES / "hf_script.yaml")
    assert script.document["training"]["max_length"] == 2048
    assert "lazy_preprocess" in script.ignored


def test_shell_expressions(tmp_path):
    script = tmp_path / "run.sh"
    script.write_text(
        "N=4\nexport NPROC_PER_NODE=$N\nswift sft --model org/m --gradient_accumulation_steps $((32 / N)) \\\n"
        "  --max_steps $((32 / $N)) --seed $(date +%s) --dataset a/b\n"
    )
    adapted = adapters.read(script)
    assert adapted.document["training"]["max_steps"] == 8
    assert adapted.document["cluster"] == {"num_gpus": 4}
    assert adapted.ignored["seed"].startswith("a shell expression")


# --- in a spec, in the SDK, on the command line --------------------------------------------------------------------


def test_a_spec_takes_such_a_file_as_its_training(tmp_path, caplog):
    loaded = load({"training": str(FILES / "swift_zero3_offload.sh"), "model": {"path": "/m"}})
    assert loaded.spec.model.path == "/m"  # the spec's own word wins
    assert loaded.data_path == FILES / "rows.jsonl"
    assert static.deepspeed_config(loaded.spec.deepspeed).given["zero_optimization"]["stage"] == 3
    assert loaded.spec.training.packing is True
    assert loaded.spec.cluster.num_gpus == 8
    loaded = load(
        {"training": str(FILES / "llamafactory_full_sft.yaml")},
        overrides=["training.max_steps=9", "cluster.num_gpus=4"],
    )
    assert loaded.spec.training.max_steps == 9
    assert loaded.adapted.ignored["template"]
    assert "template" in caplog.text


def test_a_mapping_of_such_keys_is_understood_too():
    given = {"model_name_or_path": "org/m", "stage": "sft", "cutoff_len": 77, "bf16": True}
    loaded = load(
        {"model": "org/m", "data": [{"text": "x"}], "deepspeed": {"train_batch_size": 8}, "training": given}
    )
    assert loaded.spec.training.max_length == 77


def test_lint_takes_such_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ds.json").write_text('{"gradient_accumulation_steps": 4, "train_micro_batch_size_per_gpu": "auto"}')
    assert app.run(["lint", "ds.json", "--training", str(FILES / "swift_lora.sh")]) == 1
    assert "arguments-mismatch" in capsys.readouterr().out


def test_arguments_that_a_typo_has_got_into_are_not_swallowed():
    with pytest.raises(SpecError) as error:
        load({"model": "org/m", "data": [], "deepspeed": {}, "training": {"learnig_rate": 1}})
    assert "learning_rate" in str(error.value.violations[0])


def test_init(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert app.run(["init"]) == 0
    assert Path("hotfire.yaml").read_text() == TEMPLATE
    assert app.run(["init"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert app.run(["init", "--from", str(FILES / "axolotl_fft.yaml"), "--force"]) == 0
    out, err = capsys.readouterr()
    assert out == "hotfire.yaml\n"
    assert "not used" in err
    assert "#   wandb_project" in Path("hotfire.yaml").read_text()
    for bad in (["--from", "none.yaml"], ["--tool", "trl"], ["--from", str(FILES / "rows.jsonl"), "--force"]):
        assert app.run(["init", *bad, "--output", "x.yaml"]) == 2
    Path("empty.sh").write_text("echo nothing\n")
    assert app.run(["init", "--from", "empty.sh", "--output", "x.yaml"]) == 2


def test_the_template_is_a_spec_once_its_files_are_there(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "train.jsonl").write_text("{}\n")
    (tmp_path / "ds_config.json").write_text("{}")
    (tmp_path / "hotfire.yaml").write_text(TEMPLATE)
    assert load(tmp_path).spec.training.max_length == 2048
    # What is commented out is right, too.
    uncommented = (
        TEMPLATE.replace("  # lr", "  lr").replace("  # warm", "  warm").replace("  # peft", "  peft")
    )
    uncommented = uncommented.replace("  # loop", "  loop").replace("  # max_grad", "  max_grad")
    uncommented = (
        uncommented.replace("# plan:", "plan:").replace("#   num_", "  num_").replace("#   time", "  time")
    )
    for key in ("num_nodes", "gpu_memory", "host_memory", "num_train", "versions", "gradient_check"):
        uncommented = uncommented.replace(f"  # {key}", f"  {key}")
    (tmp_path / "hotfire.yaml").write_text(uncommented)
    loaded = load(tmp_path)
    assert wire.message_to_dict(loaded.spec.cluster)["versions"] == {
        "deepspeed": "0.18.2",
        "transformers": "5.1.0",
    }
    assert loaded.spec.plan.num_steps == 8


def test_paths_below_the_spec_are_relative(tmp_path):
    adapted = adapters.read(FILES / "axolotl_lora_chat.yaml")
    text = to_yaml(adapted, source="x", folder=FILES)
    assert "uri: ./rows.jsonl" in text
    moved = to_yaml(adapted, source="x", folder=tmp_path)
    assert f"uri: {FILES}/rows.jsonl" in moved
    empty = dataclasses.replace(adapted, document={})
    assert "model:  " in to_yaml(empty, source="x", folder=tmp_path)


# --- what real files had and ours had not ---------------------------------------------------------------------------


def test_a_hash_inside_a_word_is_no_comment(tmp_path):
    """examples/train/deepspeed/train_zero2.sh of ms-swift 3."""
    script = tmp_path / "run.sh"
    script.write_text(
        "swift sft --model org/m --dataset swift/self-cognition#1000 \\\n --lora_rank 4 \\\n --deepspeed default-zero2 "
        "# default-zero3\n"
    )
    adapted = adapters.read(script)
    assert adapted.document["data"] == {"hub_id": "swift/self-cognition"}
    assert adapted.document["training"]["peft"]["r"] == 4
    assert adapted.document["deepspeed"]["zero_optimization"]["stage"] == 2


def test_axolotl_files_within_a_data_set_are_no_data_set(tmp_path):
    """examples/alst/llama3-8b-deepspeed-alst.yaml of axolotl."""
    entry = {"path": "org/collection", "type": "completion", "data_files": ["pretrain/part.jsonl.zst"]}
    given = {"base_model": "org/m", "datasets": [entry], "sequence_len": 8}
    adapted = adapters.adapt(given, tmp_path)
    assert adapted.document["data"]["hub_id"] == "org/collection"
    assert any("pretrain/part.jsonl.zst" in note for note in adapted.notes)


@pytest.mark.parametrize(
    "given",
    [
        {"dataset_mixture": {"datasets": [{"id": "org/chat", "split": "train_sft"}, {"id": "org/more"}]}},
        {"datasets": [{"path": "org/chat", "split": "train_sft"}], "dataset_num_proc": 2},
        {"dataset_mixer": {"org/chat": 1.0}},
    ],
)
def test_mixtures_of_trl(tmp_path, given):
    """recipes/zephyr-7b-beta of the alignment handbook."""
    adapted = adapters.adapt({"model_name_or_path": "org/m", **given}, tmp_path)
    assert adapted.tool == "TRL"
    assert adapted.document["data"]["hub_id"] == "org/chat"
    assert adapted.document["data"].get("split") == (None if "dataset_mixer" in given else "train_sft")
