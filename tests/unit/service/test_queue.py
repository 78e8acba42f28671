import pytest

from hotfire_service.store import StoreSettings, celery_config, queue_name
from hotfire_service.store.connection import broker_url


def test_one_visibility_timeout_everywhere_longer_than_any_run():
    config = celery_config(settings=StoreSettings())
    visibility = config["broker_transport_options"]["visibility_timeout"]
    assert isinstance(visibility, int)
    assert visibility > config["task_time_limit"] > config["task_soft_time_limit"]
    assert config["visibility_timeout"] == visibility
    assert config["result_backend_transport_options"]["visibility_timeout"] == visibility


def test_a_worker_listens_to_its_pool_only():
    config = celery_config("redis://x/0", settings=StoreSettings(), pool="h100")
    assert [q.name for q in config["task_queues"]] == [queue_name("h100")] == [config["task_default_queue"]]
    assert config["task_create_missing_queues"] is False
    assert config["task_acks_late"] is True


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://h:1/2", "redis://h:1/2"),
        ("valkey://h:1/2", "redis://h:1/2"),
        ("valkeys://h:1/2", "rediss://h:1/2"),
        ("unix:///run/v.sock", "redis+socket:///run/v.sock?virtual_host=0"),
        ("valkey+unix:///run/v.sock?db=3", "redis+socket:///run/v.sock?virtual_host=3"),
    ],
)
def test_broker_addresses(url, broker):
    assert broker_url(url) == broker
