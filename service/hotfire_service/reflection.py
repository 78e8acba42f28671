"""Server reflection, so that grpcurl and buf curl need no proto files."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from hotfire_service.health import SERVICE

#: The library has no annotations.
_reflection_code: Any = reflection


class MethodPool:
    """The default descriptor pool, which also finds methods.

    protobuf's C implementation does not know `package.Service.Method` as a symbol, and
    `grpcurl describe package.Service.Method` then fails.
    """

    def __init__(self) -> None:
        self._pool: Any = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802 - protobuf's name
        """The file that declares a symbol.

        Raises:
            KeyError: There is none.
        """
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            if method in self._pool.FindServiceByName(service).methods_by_name:
                return self._pool.FindFileContainingSymbol(service)
            raise


def enable(server: Any) -> None:
    """Adds reflection of our service, health and itself."""
    names = (SERVICE, health.SERVICE_NAME, _reflection_code.SERVICE_NAME)
    _reflection_code.enable_server_reflection(names, server, pool=MethodPool())
