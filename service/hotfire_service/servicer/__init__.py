"""The thirteen RPCs of `hotfire.v1.PreflightService`, by family."""

from hotfire_service.servicer.servicer import PreflightServicer

__all__ = ["PreflightServicer"]
