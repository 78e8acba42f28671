"""The servicer that grpc registers."""

from __future__ import annotations

from hotfire.v1.preflight_service_pb2_grpc import PreflightServiceServicer
from hotfire_service.servicer.catalogue import Catalogue
from hotfire_service.servicer.deps import Deps
from hotfire_service.servicer.preflights import Preflights
from hotfire_service.servicer.uploads import Uploads
from hotfire_service.servicer.waiting import Waiting


class PreflightServicer(Preflights, Waiting, Uploads, Catalogue, PreflightServiceServicer):
    """`hotfire.v1.PreflightService`."""

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
