from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from hotfire.v1 import report_pb2 as _report_pb2
from hotfire.v1 import spec_pb2 as _spec_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[State]
    STATE_QUEUED: _ClassVar[State]
    STATE_RUNNING: _ClassVar[State]
    STATE_SUCCEEDED: _ClassVar[State]
    STATE_FAILED: _ClassVar[State]
    STATE_CANCELLED: _ClassVar[State]
    STATE_EXPIRED: _ClassVar[State]
STATE_UNSPECIFIED: State
STATE_QUEUED: State
STATE_RUNNING: State
STATE_SUCCEEDED: State
STATE_FAILED: State
STATE_CANCELLED: State
STATE_EXPIRED: State

class Preflight(_message.Message):
    __slots__ = ("name", "state", "spec", "progress", "report", "error", "create_time", "start_time", "end_time", "expire_time", "labels", "attempt", "cached_from")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CACHED_FROM_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: State
    spec: _spec_pb2.PreflightSpec
    progress: Progress
    report: _report_pb2.Report
    error: _status_pb2.Status
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    attempt: int
    cached_from: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[State, str]] = ..., spec: _Optional[_Union[_spec_pb2.PreflightSpec, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., report: _Optional[_Union[_report_pb2.Report, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., attempt: _Optional[int] = ..., cached_from: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("phase", "trial", "step", "num_steps", "message")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    NUM_STEPS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    phase: str
    trial: str
    step: int
    num_steps: int
    message: str
    def __init__(self, phase: _Optional[str] = ..., trial: _Optional[str] = ..., step: _Optional[int] = ..., num_steps: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class StateEvent(_message.Message):
    __slots__ = ("state", "preflight")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PREFLIGHT_FIELD_NUMBER: _ClassVar[int]
    state: State
    preflight: Preflight
    def __init__(self, state: _Optional[_Union[State, str]] = ..., preflight: _Optional[_Union[Preflight, _Mapping]] = ...) -> None: ...

class TrialStartedEvent(_message.Message):
    __slots__ = ("trial", "num_steps")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    NUM_STEPS_FIELD_NUMBER: _ClassVar[int]
    trial: _report_pb2.Trial
    num_steps: int
    def __init__(self, trial: _Optional[_Union[_report_pb2.Trial, _Mapping]] = ..., num_steps: _Optional[int] = ...) -> None: ...

class StepEvent(_message.Message):
    __slots__ = ("trial", "step")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    trial: str
    step: _report_pb2.Step
    def __init__(self, trial: _Optional[str] = ..., step: _Optional[_Union[_report_pb2.Step, _Mapping]] = ...) -> None: ...

class TrialFinishedEvent(_message.Message):
    __slots__ = ("trial",)
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    trial: _report_pb2.Trial
    def __init__(self, trial: _Optional[_Union[_report_pb2.Trial, _Mapping]] = ...) -> None: ...

class FindingEvent(_message.Message):
    __slots__ = ("finding",)
    FINDING_FIELD_NUMBER: _ClassVar[int]
    finding: _report_pb2.Finding
    def __init__(self, finding: _Optional[_Union[_report_pb2.Finding, _Mapping]] = ...) -> None: ...

class LogEvent(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class HeartbeatEvent(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResetEvent(_message.Message):
    __slots__ = ("preflight",)
    PREFLIGHT_FIELD_NUMBER: _ClassVar[int]
    preflight: Preflight
    def __init__(self, preflight: _Optional[_Union[Preflight, _Mapping]] = ...) -> None: ...
