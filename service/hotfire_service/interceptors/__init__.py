"""What happens around every call: request id and log line, then authentication, then errors."""

from hotfire_service.interceptors.auth import HEALTH, REFLECTION, AuthInterceptor
from hotfire_service.interceptors.errors import ErrorInterceptor
from hotfire_service.interceptors.log import LogInterceptor

__all__ = ["HEALTH", "REFLECTION", "AuthInterceptor", "ErrorInterceptor", "LogInterceptor"]
