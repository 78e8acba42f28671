"""The service: the gRPC front door (`python -m hotfire_service`) and, in `store`, the Redis ledger."""
