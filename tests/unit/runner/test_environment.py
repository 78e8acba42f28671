from __future__ import annotations

import pytest

from hotfire_workers.runner.environment import is_secret, rank_environment

WORKER = {
    "PATH": "/bin",
    "HOME": "/home/u",
    "HF_TOKEN": "hf_x",
    "HF_HOME": "/models",
    "HOTFIRE_STORE_REDIS_URL": "redis://:password@host/0",
    "CELERY_BROKER_URL": "redis://host",
    "AWS_SECRET_ACCESS_KEY": "x",
    "CUDA_VISIBLE_DEVICES": "GPU-1",
    "NCCL_DEBUG": "WARN",
    "NCCL_API_TOKEN": "x",
    "https_proxy": "http://proxy",
    "LD_LIBRARY_PATH": "/lib",
}


def test_only_what_is_on_the_list_gets_through() -> None:
    environment = rank_environment(base=WORKER)
    assert {name for name in WORKER if name in environment} == {
        "PATH", "HOME", "HF_HOME", "CUDA_VISIBLE_DEVICES", "NCCL_DEBUG", "LD_LIBRARY_PATH"
    }  # fmt: skip
    assert environment["HF_HUB_OFFLINE"] == environment["TRANSFORMERS_OFFLINE"] == "1"
    assert environment["DS_ACCELERATOR"] == "cpu"


def test_the_hub_only_when_allowed() -> None:
    environment = rank_environment(base=WORKER, allow_hub=True)
    assert "HF_HUB_OFFLINE" not in environment
    assert environment["https_proxy"] == "http://proxy"
    assert "HF_TOKEN" not in environment


def test_the_operator_has_the_last_word() -> None:
    environment = rank_environment(base=WORKER, device="cuda", cache_dir="/c", extra={"HF_TOKEN": "t"})
    assert environment["HF_TOKEN"] == "t"
    assert environment["DS_ACCELERATOR"] == "cuda"
    assert environment["HOTFIRE_CACHE_DIR"] == "/c"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("NCCL_TOKEN", "x", True),
        ("DS_PASSWORD", "x", True),
        ("CUDA_HOME", "/usr", False),
        ("HF_HOME", "s3://user:pw@host/x", True),
        ("HF_HOME", "s3://host/x", False),
    ],
)
def test_what_is_secret(name: str, value: str, secret: bool) -> None:
    assert is_secret(name, value) is secret
