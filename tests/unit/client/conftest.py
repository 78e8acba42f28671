"""A whole preflight as the service would return it, and an in-process server."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from hotfire import errors, wire
from hotfire.v1 import preflight_pb2, preflight_service_pb2_grpc, spec_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2

DS_CONFIG = {
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "bf16": {"enabled": True},
    "zero_optimization": {"stage": 2, "overlap_comm": True},
}


@pytest.fixture
def broken_preflight() -> preflight_pb2.Preflight:
    """GLM-4 whose answers are all cut off: loss NaN, gradient 0, ZeRO not the cause, a verified fix."""
    spec = wire.message_from_dict(
        {
            "model": {"path": "/models/glm4-tiny"},
            "data": {"uri": "file:///data/train.jsonl"},
            "deepspeed": {"config_json": json.dumps(DS_CONFIG, indent=2)},
            "training": {
                "max_length": 32,
                "learning_rate": 2e-4,
                "max_steps": 200,
                "assistant_only_loss": True,
            },
            "cluster": {"num_gpus": 16, "gpu_memory_bytes": 80 * 2**30},
        },
        spec_pb2.PreflightSpec,
    )
    report = {
        "verdict": "FAIL",
        "headline": "Every answer is cut off: with max_length 32 all 24 rows lose their whole answer, so no token "
        "is trained on and the Trainer will log loss 0.0, grad_norm 0.0 (14 of 79 checks skipped)",
        "findings": [
            {
                "rule": "no-supervised-tokens",
                "rule_id": "D101",
                "severity": "ERROR",
                "message": "All 24 rows have no label other than -100: the loss looks at nothing.",
                "location": {"config_path": "/training/max_length", "row": 1},
                "evidence": {"num_rows": 24, "num_rows_without_labels": 24, "max_length": 32, "longest": 187},
                "fix": {
                    "description": "Raise max_length to 192, which keeps every answer whole",
                    "patch": [{"op": "replace", "path": "/training/max_length", "value": 192}],
                    "verification": "VERIFIED",
                    "trial": "fix-1",
                },
            },
            {
                "rule": "zero-gradient",
                "rule_id": "R103",
                "severity": "ERROR",
                "message": "The gradient is exactly 0 on all 8 applied steps.",
                "location": {"trial": "candidate", "step": 1},
                "evidence": {"grad_norm": 0, "loss": "NaN"},
                "fix": {
                    "description": "Use ZeRO-3",
                    "patch": [{"op": "replace", "path": "/deepspeed/zero_optimization/stage", "value": 3}],
                    "verification": "REFUTED",
                    "trial": "fix-2",
                    "reason": "the gradient is still exactly 0",
                },
            },
            {
                "rule": "poor-use-of-tokens",
                "rule_id": "D118",
                "severity": "INFO",
                "message": "61 % of the tokens of a batch are padding.",
            },
        ],
        "recommendation": {
            "description": "Raise max_length to 192, which keeps every answer whole",
            "patch": [{"op": "replace", "path": "/training/max_length", "value": 192}],
            "verification": "VERIFIED",
            "trial": "fix-1",
        },
        "checks": [
            {"rule": "no-supervised-tokens", "rule_id": "D101", "outcome": "FOUND"},
            {"rule": "zero-gradient", "rule_id": "R103", "outcome": "FOUND"},
            {"rule": "unreadable-config", "rule_id": "C101", "outcome": "PASSED"},
            {"rule": "known-bad-version", "outcome": "SKIPPED", "reason": "no target versions were given"},
            {"rule": "host-memory", "outcome": "SKIPPED", "reason": "no host memory was given"},
            {"rule": "reload-differs", "outcome": "SKIPPED", "reason": "no target versions were given"},
            {"rule": "hang", "outcome": "ERROR", "reason": "the rule itself failed: KeyError: 'x'"},
        ],
        "trials": [
            _trial("candidate", "CANDIDATE", "DOES_NOT_TRAIN", [math.nan] * 8, [0.0] * 8),
            _trial("reference", "REFERENCE", "DOES_NOT_TRAIN", [math.nan] * 8, [0.0] * 8),
            _trial(
                "fix-1",
                "FIX",
                "TRAINS",
                [7.62, 7.6, 7.58, 7.5, 7.44, 7.1, 6.8, 6.61],
                [3.2, 3.1, 3.15, 2.9, 2.7, 2.6, 2.62, 2.2],
                patch=[{"op": "replace", "path": "/training/max_length", "value": 192}],
            ),
        ],
        "zero": {
            "submitted_stage": 2,
            "guilty": "NOT_ZERO",
            "explanation": "Without DeepSpeed the same batches give the same NaN loss and the same zero gradient.",
            "stages": [
                {
                    "stage": 1,
                    "outcome": "DOES_NOT_TRAIN",
                    "agrees_with_reference": True,
                    "step_seconds": 0.021,
                },
                {
                    "stage": 2,
                    "outcome": "DOES_NOT_TRAIN",
                    "agrees_with_reference": True,
                    "loss_gap": 0.0,
                    "grad_norm_gap": 0.00031,
                    "peak_memory_bytes": 2**29,
                    "step_seconds": 0.022,
                    "forecast_bytes": 31 * 2**30,
                },
                {"stage": 3, "outcome": "CRASHED", "agrees_with_reference": False, "loss_gap": 0.21},
            ],
        },
        "data": {
            "num_rows_read": 25,
            "num_rows_usable": 24,
            "rejected": [{"row": 9, "reason": "no field 'messages'"}],
            "format": "MESSAGES",
            "supervised_token_share": 0.0,
            "length_p50": 32,
            "length_p90": 32,
            "length_p99": 32,
            "length_max": 32,
            "truncated_row_share": 1.0,
            "samples": [
                {
                    "row": 3,
                    "why": "longest row",
                    "tokens": [
                        {"id": 1, "text": "[gMASK]", "trained": False},
                        {"id": 2, "text": "<sop>", "trained": False},
                        {"id": 3, "text": "<|user|>", "trained": False},
                        {"id": 4, "text": "\nWhat is", "trained": False},
                        {"id": 5, "text": " 2+2?", "trained": False},
                        {"id": 6, "text": "<|assistant|>", "trained": False},
                        {"id": 7, "text": "\nFour", "trained": True},
                        {"id": 8, "text": "\x1b[31m.", "trained": True},
                    ],
                }
            ],
        },
        "memory": {
            "stages": [
                {
                    "stage": stage,
                    "offload": "none",
                    "states_bytes": states * 2**30,
                    "activations_bytes": 9 * 2**30,
                    "buffers_bytes": 2 * 2**30,
                    "total_bytes": (states + 11) * 2**30,
                    "low_bytes": (states + 9) * 2**30,
                    "high_bytes": (states + 14) * 2**30,
                    "available_bytes": 80 * 2**30,
                    "fits": states < 69,
                }
                for stage, states in ((0, 141), (1, 43), (2, 27), (3, 9))
            ],
            "largest_micro_batch_size": 4,
        },
        "environment": {
            "versions": {"torch": "2.13.0", "deepspeed": "0.19.8", "transformers": "5.23.0"},
            "device": "cpu",
            "launcher": "warm",
            "pool": "default",
            "emulated": ["The trials ran on CPU: numerics of bf16 are those of the CPU."],
        },
    }
    return wire.message_from_dict(
        {
            "name": "preflights/glm4-demo",
            "state": "SUCCEEDED",
            "spec": wire.message_to_dict(spec),
            "report": report,
            "create_time": "2026-11-24T04:00:00Z",
            "start_time": "2026-11-24T04:00:01Z",
            "end_time": "2026-11-24T04:00:09.500Z",
            "attempt": 1,
        },
        preflight_pb2.Preflight,
    )


def _trial(
    name: str, role: str, outcome: str, losses: list[float], norms: list[float], **more: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "outcome": outcome,
        "num_ranks": 2,
        "steps": [
            {
                "step": i + 1,
                "phase": "SCHEDULED" if i < 5 else "PEAK",
                "applied": True,
                "loss": loss,
                "grad_norm": norm,
                "grad_norm_measured": norm,
                "learning_rate": 2e-5 * (i + 1),
            }
            for i, (loss, norm) in enumerate(zip(losses, norms, strict=True))
        ],
        "adaptations": [
            {
                "path": "/deepspeed/train_batch_size",
                "before": 128,
                "after": 16,
                "reason": "2 ranks here instead of 16",
            }
        ]
        if role == "CANDIDATE"
        else [],
        "phase_seconds": {"model": 0.2, "engine": 0.3, "steps": 0.4},
    } | more


class FakeService(preflight_service_pb2_grpc.PreflightServiceServicer):
    """A servicer that remembers what it was asked and answers what it was told."""

    num_workers = 1

    def __init__(self, result: preflight_pb2.Preflight) -> None:
        self.result = result
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.faults: dict[str, list[grpc.StatusCode]] = {}
        self.details: bytes | None = None
        self.events: list[service_pb2.WatchPreflightResponse] = []
        self.break_after: list[int] = []
        """How many events each of the first streams sends before it breaks."""
        self.repeat_last = False
        """Start each stream with the event the client already has."""
        self.uploads: dict[str, bytes] = {}
        self.limits = service_pb2.Limits(max_upload_bytes=2**30, max_inline_rows=100)
        self.pages: list[list[str]] = [["a", "b"], ["c"]]

    def _enter(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.faults.get(method):
            trailers = ((errors.DETAILS_KEY, self.details),) if self.details else ()
            context.set_trailing_metadata(trailers)
            context.abort(self.faults[method].pop(0), f"{method} is told to fail")

    def named(self, method: str) -> list[Any]:
        return [r for r in self.requests if type(r).__name__ == f"{method}Request"]

    def CreatePreflight(self, request, context):  # noqa: N802
        self._enter("CreatePreflight", request, context)
        name = f"preflights/{request.preflight_id or 'p1'}"
        return service_pb2.CreatePreflightResponse(
            preflight=preflight_pb2.Preflight(
                name=name, state=preflight_pb2.STATE_QUEUED, spec=request.spec, labels=request.labels
            )
        )

    def GetPreflight(self, request, context):  # noqa: N802
        self._enter("GetPreflight", request, context)
        return service_pb2.GetPreflightResponse(preflight=self.result)

    def ListPreflights(self, request, context):  # noqa: N802
        self._enter("ListPreflights", request, context)
        page = int(request.page_token or 0)
        return service_pb2.ListPreflightsResponse(
            preflights=[preflight_pb2.Preflight(name=f"preflights/{n}") for n in self.pages[page]],
            next_page_token=str(page + 1) if page + 1 < len(self.pages) else "",
        )

    def CancelPreflight(self, request, context):  # noqa: N802
        self._enter("CancelPreflight", request, context)
        return service_pb2.CancelPreflightResponse(
            preflight=preflight_pb2.Preflight(name=request.name, state=preflight_pb2.STATE_CANCELLED)
        )

    def DeletePreflight(self, request, context):  # noqa: N802
        self._enter("DeletePreflight", request, context)
        return service_pb2.DeletePreflightResponse()

    def WaitPreflight(self, request, context):  # noqa: N802
        self._enter("WaitPreflight", request, context)
        return service_pb2.WaitPreflightResponse(preflight=self.result)

    def WatchPreflight(self, request, context):  # noqa: N802
        self._enter("WatchPreflight", request, context)
        start = int(request.cursor or 0)
        if self.repeat_last and start:
            start -= 1
        budget = self.break_after.pop(0) if self.break_after else None
        for event in self.events[start:]:
            if budget == 0:
                context.abort(grpc.StatusCode.UNAVAILABLE, "told to break")
            yield event
            budget = budget - 1 if budget is not None else None

    def GetRow(self, request, context):  # noqa: N802
        self._enter("GetRow", request, context)
        sample = self.result.report.data.samples[0]
        return service_pb2.GetRowResponse(sample=sample)

    def ListPools(self, request, context):  # noqa: N802
        self._enter("ListPools", request, context)
        pool = service_pb2.Pool(name="default", device="cpu", num_workers=self.num_workers, num_slots_free=1)
        return service_pb2.ListPoolsResponse(pools=[pool])

    def GetServerInfo(self, request, context):  # noqa: N802
        self._enter("GetServerInfo", request, context)
        return service_pb2.GetServerInfoResponse(version="1", limits=self.limits)

    def UploadArtifact(self, iterator, context):  # noqa: N802
        header = next(iterator).header
        self.requests.append(header)
        if header.sha256 in self.uploads:
            return service_pb2.UploadArtifactResponse(artifact=f"artifacts/{header.sha256}")
        chunks = [message.chunk for message in iterator]
        assert all(len(c) <= 2**20 for c in chunks)
        content = b"".join(chunks)
        assert len(content) == header.size_bytes
        assert hashlib.sha256(content).hexdigest() == header.sha256
        self.uploads[header.sha256] = content
        return service_pb2.UploadArtifactResponse(artifact=f"artifacts/{header.sha256}")


def start_server(service: FakeService, port: int = 0) -> tuple[grpc.Server, int]:
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    preflight_service_pb2_grpc.add_PreflightServiceServicer_to_server(service, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


@pytest.fixture
def service(broken_preflight: preflight_pb2.Preflight) -> FakeService:
    fake = FakeService(broken_preflight)
    fake.events = [
        *(
            service_pb2.WatchPreflightResponse(
                cursor=str(i + 1), log=preflight_pb2.LogEvent(message=f"line {i}")
            )
            for i in range(5)
        ),
        service_pb2.WatchPreflightResponse(
            cursor="6",
            state=preflight_pb2.StateEvent(state=preflight_pb2.STATE_SUCCEEDED, preflight=broken_preflight),
        ),
    ]
    return fake


@pytest.fixture
def address(service: FakeService) -> Iterator[str]:
    server, port = start_server(service)
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def restartable(service: FakeService):
    """(address, stop, start): the same service on the same port, stopped and started at will."""
    server, port = start_server(service)
    servers = [server]

    def stop() -> None:
        servers.pop().stop(0).wait()

    def start() -> None:
        servers.append(start_server(service, port)[0])

    yield f"127.0.0.1:{port}", stop, start
    for one in servers:
        one.stop(None).wait()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the user's own settings or writes into the user's cache."""
    for name in ("HOTFIRE_SERVER", "HOTFIRE_TOKEN", "HOTFIRE_TLS", "HOTFIRE_CA_CERT", "HOTFIRE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOTFIRE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A folder with a whole spec in it."""
    folder = tmp_path / "job"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text('{"model_type": "glm"}')
    (folder / "data.jsonl").write_text('{"text": "hello"}\n')
    (folder / "ds_config.json").write_text(json.dumps(DS_CONFIG, indent=2))
    (folder / "hotfire.yaml").write_text(
        "model: ./model\ndata: data.jsonl\ndeepspeed: ds_config.json\n"
        "training: {learning_rate: 2.0e-4, max_steps: 200, max_length: 32}\n"
    )
    return folder
