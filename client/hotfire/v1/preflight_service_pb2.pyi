from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hotfire.v1 import preflight_pb2 as _preflight_pb2
from hotfire.v1 import report_pb2 as _report_pb2
from hotfire.v1 import spec_pb2 as _spec_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_DATA: _ClassVar[Kind]
    KIND_MODEL: _ClassVar[Kind]
KIND_UNSPECIFIED: Kind
KIND_DATA: Kind
KIND_MODEL: Kind

class CheckConfigRequest(_message.Message):
    __slots__ = ("deepspeed", "training", "cluster", "model_config", "plan")
    DEEPSPEED_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MODEL_CONFIG_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    deepspeed: _spec_pb2.DeepSpeedSpec
    training: _spec_pb2.TrainingSpec
    cluster: _spec_pb2.ClusterSpec
    model_config: _struct_pb2.Struct
    plan: _spec_pb2.PlanSpec
    def __init__(self, deepspeed: _Optional[_Union[_spec_pb2.DeepSpeedSpec, _Mapping]] = ..., training: _Optional[_Union[_spec_pb2.TrainingSpec, _Mapping]] = ..., cluster: _Optional[_Union[_spec_pb2.ClusterSpec, _Mapping]] = ..., model_config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., plan: _Optional[_Union[_spec_pb2.PlanSpec, _Mapping]] = ...) -> None: ...

class CheckConfigResponse(_message.Message):
    __slots__ = ("verdict", "headline", "findings", "checks", "effective_config", "memory")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    HEADLINE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_CONFIG_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    verdict: _report_pb2.Verdict
    headline: str
    findings: _containers.RepeatedCompositeFieldContainer[_report_pb2.Finding]
    checks: _containers.RepeatedCompositeFieldContainer[_report_pb2.Check]
    effective_config: _struct_pb2.Struct
    memory: _report_pb2.MemoryReport
    def __init__(self, verdict: _Optional[_Union[_report_pb2.Verdict, str]] = ..., headline: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[_report_pb2.Finding, _Mapping]]] = ..., checks: _Optional[_Iterable[_Union[_report_pb2.Check, _Mapping]]] = ..., effective_config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., memory: _Optional[_Union[_report_pb2.MemoryReport, _Mapping]] = ...) -> None: ...

class ArtifactHeader(_message.Message):
    __slots__ = ("kind", "filename", "size_bytes", "sha256")
    KIND_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    kind: Kind
    filename: str
    size_bytes: int
    sha256: str
    def __init__(self, kind: _Optional[_Union[Kind, str]] = ..., filename: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class UploadArtifactRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: ArtifactHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[ArtifactHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UploadArtifactResponse(_message.Message):
    __slots__ = ("artifact",)
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    artifact: str
    def __init__(self, artifact: _Optional[str] = ...) -> None: ...

class CreatePreflightRequest(_message.Message):
    __slots__ = ("spec", "request_id", "preflight_id", "labels", "validate_only")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREFLIGHT_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    spec: _spec_pb2.PreflightSpec
    request_id: str
    preflight_id: str
    labels: _containers.ScalarMap[str, str]
    validate_only: bool
    def __init__(self, spec: _Optional[_Union[_spec_pb2.PreflightSpec, _Mapping]] = ..., request_id: _Optional[str] = ..., preflight_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., validate_only: bool = ...) -> None: ...

class CreatePreflightResponse(_message.Message):
    __slots__ = ("preflight",)
    PREFLIGHT_FIELD_NUMBER: _ClassVar[int]
    preflight: _preflight_pb2.Preflight
    def __init__(self, preflight: _Optional[_Union[_preflight_pb2.Preflight, _Mapping]] = ...) -> None: ...

class GetPreflightRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetPreflightResponse(_message.Message):
    __slots__ = ("preflight",)
    PREFLIGHT_FIELD_NUMBER: _ClassVar[int]
    preflight: _preflight_pb2.Preflight
    def __init__(self, preflight: _Optional[_Union[_preflight_pb2.Preflight, _Mapping]] = ...) -> None: ...

class ListPreflightsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "state", "verdict", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    state: _preflight_pb2.State
    verdict: _report_pb2.Verdict
    labels: _containers.ScalarMap[str, str]
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., state: _Optional[_Union[_preflight_pb2.State, str]] = ..., verdict: _Optional[_Union[_report_pb2.Verdict, str]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListPreflightsResponse(_message.Message):
    __slots__ = ("preflights", "next_page_token")
    PREFLIGHTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    preflights: _containers.RepeatedCompositeFieldContainer[_preflight_pb2.Preflight]
    next_page_token: str
    def __init__(self, preflights: _Optional[_Iterable[_Union[_preflight_pb2.Preflight, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeletePreflightRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeletePreflightResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CancelPreflightRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CancelPreflightResponse(_message.Message):
    __slots__ = ("preflight",)
    PREFLIGHT_FIELD_NUMBER: _ClassVar[int]
    preflight: _preflight_pb2.Preflight
    def __init__(self, preflight: _Optional[_Union[_preflight_pb2.Preflight, _Mapping]] = ...) -> None: ...

class WaitPreflightRequest(_message.Message):
    __slots__ = ("name", "timeout")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    timeout: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WaitPreflightResponse(_message.Message):
    __slots__ = ("preflight",)
    PREFLIGHT_FIELD_NUMBER: _ClassVar[int]
    preflight: _preflight_pb2.Preflight
    def __init__(self, preflight: _Optional[_Union[_preflight_pb2.Preflight, _Mapping]] = ...) -> None: ...

class WatchPreflightRequest(_message.Message):
    __slots__ = ("name", "cursor")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    cursor: str
    def __init__(self, name: _Optional[str] = ..., cursor: _Optional[str] = ...) -> None: ...

class WatchPreflightResponse(_message.Message):
    __slots__ = ("cursor", "time", "attempt", "state", "progress", "trial_started", "step", "trial_finished", "finding", "log", "heartbeat", "reset")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    TRIAL_STARTED_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FINISHED_FIELD_NUMBER: _ClassVar[int]
    FINDING_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    time: _timestamp_pb2.Timestamp
    attempt: int
    state: _preflight_pb2.StateEvent
    progress: _preflight_pb2.Progress
    trial_started: _preflight_pb2.TrialStartedEvent
    step: _preflight_pb2.StepEvent
    trial_finished: _preflight_pb2.TrialFinishedEvent
    finding: _preflight_pb2.FindingEvent
    log: _preflight_pb2.LogEvent
    heartbeat: _preflight_pb2.HeartbeatEvent
    reset: _preflight_pb2.ResetEvent
    def __init__(self, cursor: _Optional[str] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., state: _Optional[_Union[_preflight_pb2.StateEvent, _Mapping]] = ..., progress: _Optional[_Union[_preflight_pb2.Progress, _Mapping]] = ..., trial_started: _Optional[_Union[_preflight_pb2.TrialStartedEvent, _Mapping]] = ..., step: _Optional[_Union[_preflight_pb2.StepEvent, _Mapping]] = ..., trial_finished: _Optional[_Union[_preflight_pb2.TrialFinishedEvent, _Mapping]] = ..., finding: _Optional[_Union[_preflight_pb2.FindingEvent, _Mapping]] = ..., log: _Optional[_Union[_preflight_pb2.LogEvent, _Mapping]] = ..., heartbeat: _Optional[_Union[_preflight_pb2.HeartbeatEvent, _Mapping]] = ..., reset: _Optional[_Union[_preflight_pb2.ResetEvent, _Mapping]] = ...) -> None: ...

class GetRowRequest(_message.Message):
    __slots__ = ("name", "row")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    name: str
    row: int
    def __init__(self, name: _Optional[str] = ..., row: _Optional[int] = ...) -> None: ...

class GetRowResponse(_message.Message):
    __slots__ = ("sample",)
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    sample: _report_pb2.Sample
    def __init__(self, sample: _Optional[_Union[_report_pb2.Sample, _Mapping]] = ...) -> None: ...

class ListRulesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Rule(_message.Message):
    __slots__ = ("id", "name", "category", "severity", "summary", "documentation")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTATION_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    category: str
    severity: _report_pb2.Severity
    summary: str
    documentation: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., category: _Optional[str] = ..., severity: _Optional[_Union[_report_pb2.Severity, str]] = ..., summary: _Optional[str] = ..., documentation: _Optional[str] = ...) -> None: ...

class ListRulesResponse(_message.Message):
    __slots__ = ("rules",)
    RULES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    def __init__(self, rules: _Optional[_Iterable[_Union[Rule, _Mapping]]] = ...) -> None: ...

class ListPoolsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Pool(_message.Message):
    __slots__ = ("name", "device", "num_devices_per_slot", "num_slots_free", "num_slots_busy", "num_queued", "num_running", "num_workers", "versions")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    NUM_DEVICES_PER_SLOT_FIELD_NUMBER: _ClassVar[int]
    NUM_SLOTS_FREE_FIELD_NUMBER: _ClassVar[int]
    NUM_SLOTS_BUSY_FIELD_NUMBER: _ClassVar[int]
    NUM_QUEUED_FIELD_NUMBER: _ClassVar[int]
    NUM_RUNNING_FIELD_NUMBER: _ClassVar[int]
    NUM_WORKERS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    device: str
    num_devices_per_slot: int
    num_slots_free: int
    num_slots_busy: int
    num_queued: int
    num_running: int
    num_workers: int
    versions: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., device: _Optional[str] = ..., num_devices_per_slot: _Optional[int] = ..., num_slots_free: _Optional[int] = ..., num_slots_busy: _Optional[int] = ..., num_queued: _Optional[int] = ..., num_running: _Optional[int] = ..., num_workers: _Optional[int] = ..., versions: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListPoolsResponse(_message.Message):
    __slots__ = ("pools",)
    POOLS_FIELD_NUMBER: _ClassVar[int]
    pools: _containers.RepeatedCompositeFieldContainer[Pool]
    def __init__(self, pools: _Optional[_Iterable[_Union[Pool, _Mapping]]] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_message_bytes", "max_upload_bytes", "max_inline_rows", "max_time_budget", "max_ranks")
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_UPLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_INLINE_ROWS_FIELD_NUMBER: _ClassVar[int]
    MAX_TIME_BUDGET_FIELD_NUMBER: _ClassVar[int]
    MAX_RANKS_FIELD_NUMBER: _ClassVar[int]
    max_message_bytes: int
    max_upload_bytes: int
    max_inline_rows: int
    max_time_budget: _duration_pb2.Duration
    max_ranks: int
    def __init__(self, max_message_bytes: _Optional[int] = ..., max_upload_bytes: _Optional[int] = ..., max_inline_rows: _Optional[int] = ..., max_time_budget: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_ranks: _Optional[int] = ...) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "libraries", "limits", "allowed_roots", "features")
    class LibrariesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class FeaturesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bool
        def __init__(self, key: _Optional[str] = ..., value: bool = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LIBRARIES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_ROOTS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    version: str
    libraries: _containers.ScalarMap[str, str]
    limits: Limits
    allowed_roots: _containers.RepeatedScalarFieldContainer[str]
    features: _containers.ScalarMap[str, bool]
    def __init__(self, version: _Optional[str] = ..., libraries: _Optional[_Mapping[str, str]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., allowed_roots: _Optional[_Iterable[str]] = ..., features: _Optional[_Mapping[str, bool]] = ...) -> None: ...
