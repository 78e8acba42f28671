"""Names of the Redis keys. `lua/common.lua` builds the same names; a test compares the two.

A preflight's *key id* is its id for the tenant `default`, and `{tenant}.{id}` for any other: ids are the
tenant's own, and neither part can hold a dot. The key id is what travels in Celery messages.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_TENANT = "default"


def key_id(tenant: str, preflight_id: str) -> str:
    """What the ledger and the queue call the preflight of a tenant."""
    return preflight_id if tenant == DEFAULT_TENANT else f"{tenant}.{preflight_id}"


def split_key_id(key: str) -> tuple[str, str]:
    """(tenant, preflight id) of a key id."""
    tenant, dot, preflight_id = key.partition(".")
    return (tenant, preflight_id) if dot else (DEFAULT_TENANT, key)


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names below one prefix."""

    prefix: str

    def record(self, key: str) -> str:
        """Hash: state, spec, report, ... of a preflight."""
        return f"{self.prefix}preflight:{key}"

    def events(self, key: str) -> str:
        """Stream of events; entry ids are `{n}-0`, and n is the cursor."""
        return f"{self.record(key)}:events"

    def rows(self, key: str) -> str:
        """Hash: row -> serialized Sample."""
        return f"{self.record(key)}:rows"

    def request(self, tenant: str, request_id: str) -> str:
        """Text `{body hash} {key id}`: what a request_id was answered with."""
        return f"{self.prefix}request:{tenant}:{request_id}"

    def cache(self, tenant: str, fingerprint: str) -> str:
        """Key id of the last finished preflight with this content."""
        return f"{self.prefix}cache:{tenant}:{fingerprint}"

    def index(self, tenant: str) -> str:
        """Sorted set of a tenant's preflights by creation time."""
        return f"{self.prefix}tenant:{tenant}:preflights"

    def active(self, tenant: str) -> str:
        """Set of a tenant's queued and running preflights."""
        return f"{self.prefix}tenant:{tenant}:active"

    def pool_queued(self, pool: str) -> str:
        """Set of the queued preflights of a pool."""
        return f"{self.prefix}pool:{pool}:queued"

    def pool_running(self, pool: str) -> str:
        """Set of the running preflights of a pool."""
        return f"{self.prefix}pool:{pool}:running"

    def artifact(self, tenant: str, sha256: str) -> str:
        """Hash: kind1, kind2 (as what it was checked), deleting."""
        return f"{self.prefix}artifact:{tenant}:{sha256}"

    def artifact_users(self, tenant: str, sha256: str) -> str:
        """Set of the preflights that name it."""
        return f"{self.artifact(tenant, sha256)}:users"

    def worker(self, worker: str) -> str:
        """JSON of a worker's last heartbeat; expires."""
        return f"{self.prefix}worker:{worker}"

    @property
    def queued(self) -> str:
        """Sorted set of queued preflights by the time at which they expire."""
        return f"{self.prefix}queued"

    @property
    def unsent(self) -> str:
        """Sorted set of queued preflights whose Celery message is not known to be sent, by time."""
        return f"{self.prefix}unsent"

    @property
    def leases(self) -> str:
        """Sorted set of running preflights by the end of their lease."""
        return f"{self.prefix}leases"

    @property
    def expirations(self) -> str:
        """Sorted set of preflights by the time at which the record goes."""
        return f"{self.prefix}expirations"

    @property
    def artifacts(self) -> str:
        """Sorted set of `{tenant}:{sha256}` by the end of the artifact's own TTL."""
        return f"{self.prefix}artifacts"

    @property
    def workers(self) -> str:
        """Sorted set of workers by last heartbeat."""
        return f"{self.prefix}workers"

    @property
    def pools(self) -> str:
        """Sorted set of pools by last heartbeat of any worker."""
        return f"{self.prefix}pools"

    @property
    def changed(self) -> str:
        """Pub/sub channel on which every new event's key id is announced."""
        return f"{self.prefix}changed"

    @property
    def reaper(self) -> str:
        """Lock: one reaper at a time."""
        return f"{self.prefix}reaper"

    @property
    def broker_prefix(self) -> str:
        """Prefix of Celery's own keys."""
        return f"{self.prefix}broker:"
