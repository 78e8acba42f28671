"""`hotfire.check()`: one preflight, from arguments to report."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from hotfire import _calls, config
from hotfire import spec as specs
from hotfire._upload import Upload
from hotfire.client import Client, SpecLike
from hotfire.report import Report


def check(
    spec: SpecLike | None = None,
    *,
    model: Any = None,
    data: Any = None,
    deepspeed: Any = None,
    training: Any = None,
    cluster: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
    server: str | None = None,
    token: str | config.TokenProvider | None = None,
    tls: bool | None = None,
    ca_cert: str | os.PathLike[str] | None = None,
    client_cert: str | os.PathLike[str] | None = None,
    client_key: str | os.PathLike[str] | None = None,
    upload: Upload | str = Upload.AUTO,
    labels: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Report:
    """Runs one preflight and returns its report.

    Args:
        spec: A whole spec (file, folder, mapping, message), or else the parts:
        model: A folder, a hub id, or a mapping of `ModelSpec`.
        data: A path, rows, a `datasets.Dataset`, or a mapping of `DataSpec`.
        deepspeed: A path or the config as a dict.
        training: A dict, a `TrainingArguments` object (see `hotfire.training_arguments` for what such an
            object cannot say), or a path to a file of arguments.
        cluster: The real job's cluster, as {"num_gpus": 64}.
        plan: How to run the preflight, as {"num_steps": 12}.
        server: "host:port"; default: HOTFIRE_SERVER, the config file, or the embedded set.
        token: Bearer token, or a function that gives one.
        tls: Use TLS.
        ca_cert: PEM file of the authority that signed the server's certificate.
        client_cert: PEM file of this client's certificate, where the server wants one.
        client_key: PEM file of its private key, not encrypted.
        upload: "auto", "always" or "never".
        labels: For finding it again.
        timeout: Seconds to wait; default: as long as it takes.

    Raises:
        SpecError: The spec is wrong (all of it is named).
        NoServerError: No server is named and the embedded set is not installed.
        NoReportError: It ended without a report. A training that fails is no exception.
    """
    if spec is not None:
        if any(part is not None for part in (model, data, deepspeed, training, cluster, plan)):
            raise TypeError("give either a spec or its parts, not both")
        loaded = specs.load(spec)
    else:
        loaded = specs.build(
            model=model, data=data, deepspeed=deepspeed, training=training, cluster=cluster, plan=plan
        )
    where: dict[str, Any] = {
        "server": server,
        "token": token,
        "tls": tls,
        "ca_cert": ca_cert,
        "client_cert": client_cert,
        "client_key": client_key,
    }
    settings = config.resolve(**where)
    with contextlib.ExitStack() as stack:
        if settings.server is None:
            from hotfire.local import LocalStack, require_installed

            require_installed(_calls.NO_SERVER)
            local = stack.enter_context(LocalStack(roots=loaded.roots()))
            where = {"server": local.address, "token": local.token, "tls": False}
        client = stack.enter_context(Client(**where))
        return client.check(loaded, timeout=timeout, upload=upload, labels=labels)
