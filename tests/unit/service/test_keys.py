from hotfire_service.store import scripts
from hotfire_service.store.keys import Keys, key_id, split_key_id


def test_key_id_of_the_default_tenant_is_the_preflight_id():
    assert key_id("default", "run-1") == "run-1"
    assert split_key_id("run-1") == ("default", "run-1")


def test_key_ids_of_other_tenants_cannot_collide():
    assert key_id("team-a", "run-1") == "team-a.run-1"
    assert split_key_id("team-a.run-1") == ("team-a", "run-1")


def test_lua_builds_the_same_names():
    """common.lua writes P .. 'name'; every such name must be one that keys.py makes."""
    keys = Keys("P:")
    text = scripts.source("create") + scripts.source("heartbeat") + scripts.source("finish")
    for made, written in {
        keys.record("ID"): "P .. 'preflight:' .. ID",
        keys.queued: "P .. 'queued'",
        keys.unsent: "P .. 'unsent'",
        keys.leases: "P .. 'leases'",
        keys.expirations: "P .. 'expirations'",
        keys.artifacts: "P .. 'artifacts'",
        keys.workers: "P .. 'workers'",
        keys.pools: "P .. 'pools'",
        keys.changed: "P .. 'changed'",
    }.items():
        assert written in text
        assert made == written.replace("P .. '", "P:").replace("' .. ID", "ID").replace("'", "")


def test_every_script_has_its_file():
    for name in scripts.NAMES:
        assert "ARGV[1]" in scripts.source(name)
