"""JSON: the whole preflight, or a response, through the one mapping of `hotfire.wire`."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.message import Message

from hotfire import wire
from hotfire.errors import HotfireError, to_status


def render(message: Message) -> str:
    """A message as JSON text."""
    return wire.message_to_json(message) + "\n"


def render_error(error: HotfireError) -> str:
    """`{"error": google.rpc.Status}`: what a program gets on exit 2."""
    # The details are Any messages, whose types must be known to be printed.
    from google.rpc import error_details_pb2  # noqa: F401

    status = wire.message_to_dict(to_status(error))
    return json.dumps({"error": status}, indent=2, ensure_ascii=False) + "\n"


def render_data(data: Any) -> str:
    """Plain data as JSON text."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
