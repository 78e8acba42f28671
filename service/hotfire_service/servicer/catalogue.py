"""CheckConfig, ListRules, ListPools, GetServerInfo: no ledger writes."""

from __future__ import annotations

import asyncio
from importlib import metadata
from typing import Any

from hotfire import static, wire
from hotfire.rules.engine import Rule, all_rules
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service.admission import Violations, check_shape, numbers, sources
from hotfire_service.servicer.deps import Deps

_LIBRARIES = ("grpcio", "protobuf", "celery", "kombu", "redis", "pydantic", "fsspec")


class Catalogue:
    """What needs no preflight."""

    deps: Deps

    async def CheckConfig(  # noqa: N802 - the name of the RPC
        self, request: service_pb2.CheckConfigRequest, _context: Any
    ) -> service_pb2.CheckConfigResponse:
        """The static rules, in a thread."""
        violations = Violations()
        check_shape(request, violations)
        sources.check_deepspeed(request.deepspeed, violations, path="deepspeed")
        numbers.check_cluster(request.cluster, violations, path="cluster")
        numbers.check_plan(
            request.plan,
            violations,
            settings=self.deps.settings,
            store=self.deps.ledger.settings,
            path="plan",
        )
        violations.raise_if_any()
        return await asyncio.to_thread(static.check_config, request)

    async def ListRules(  # noqa: N802
        self, _request: service_pb2.ListRulesRequest, _context: Any
    ) -> service_pb2.ListRulesResponse:
        """Every registered rule, by id."""
        return service_pb2.ListRulesResponse(rules=[_rule(rule) for rule in all_rules()])

    async def ListPools(  # noqa: N802
        self, _request: service_pb2.ListPoolsRequest, _context: Any
    ) -> service_pb2.ListPoolsResponse:
        """The pools with live workers, those of the last days, and those the operator named."""
        pools = {pool.name: pool for pool in await self.deps.ledger.pools()}
        for name in (*self.deps.settings.pools, self.deps.settings.default_pool):
            pools.setdefault(name, service_pb2.Pool(name=name, num_workers=0))
        return service_pb2.ListPoolsResponse(pools=[pools[name] for name in sorted(pools)])

    async def GetServerInfo(  # noqa: N802
        self, _request: service_pb2.GetServerInfoRequest, _context: Any
    ) -> service_pb2.GetServerInfoResponse:
        """Version, limits, policy."""
        settings, store = self.deps.settings, self.deps.ledger.settings
        response = service_pb2.GetServerInfoResponse(
            version=metadata.version("hotfire"),
            libraries={name: metadata.version(name) for name in _LIBRARIES},
            allowed_roots=settings.allowed_roots,
            features={
                "auth": settings.wants_token,
                "hub_access": settings.hub_access,
                "reflection": settings.reflection != "off",
                "remote_code": settings.remote_code,
                "tls": settings.uses_tls,
                "paths": bool(settings.allowed_roots),
                **{f"uri_{scheme}": True for scheme in settings.allowed_uri_schemes},
            },
        )
        limits = response.limits
        limits.max_message_bytes = settings.max_message_bytes
        limits.max_upload_bytes = settings.max_upload_bytes
        limits.max_inline_rows = settings.max_inline_rows
        limits.max_ranks = settings.max_ranks
        limits.max_time_budget.FromNanoseconds(int(store.max_time_budget_s * 1e9))
        return response


def _rule(rule: Rule) -> service_pb2.Rule:
    fields = {
        "id": rule.id,
        "name": rule.name,
        "category": rule.category,
        "severity": rule.severity,
        "summary": rule.summary,
        "documentation": rule.documentation,
    }
    return wire.record_to_message(fields, service_pb2.Rule)
