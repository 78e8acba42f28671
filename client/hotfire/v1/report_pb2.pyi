from google.protobuf import struct_pb2 as _struct_pb2
from hotfire.v1 import spec_pb2 as _spec_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_PASS: _ClassVar[Verdict]
    VERDICT_WARN: _ClassVar[Verdict]
    VERDICT_FAIL: _ClassVar[Verdict]
    VERDICT_INCONCLUSIVE: _ClassVar[Verdict]

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_UNSPECIFIED: _ClassVar[Severity]
    SEVERITY_ERROR: _ClassVar[Severity]
    SEVERITY_WARNING: _ClassVar[Severity]
    SEVERITY_INFO: _ClassVar[Severity]

class Verification(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERIFICATION_UNSPECIFIED: _ClassVar[Verification]
    VERIFICATION_VERIFIED: _ClassVar[Verification]
    VERIFICATION_REFUTED: _ClassVar[Verification]
    VERIFICATION_NOT_TRIED: _ClassVar[Verification]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_PASSED: _ClassVar[Outcome]
    OUTCOME_FOUND: _ClassVar[Outcome]
    OUTCOME_SKIPPED: _ClassVar[Outcome]
    OUTCOME_ERROR: _ClassVar[Outcome]

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_CANDIDATE: _ClassVar[Role]
    ROLE_REFERENCE: _ClassVar[Role]
    ROLE_STAGE: _ClassVar[Role]
    ROLE_BISECT: _ClassVar[Role]
    ROLE_FIX: _ClassVar[Role]
    ROLE_DRILL: _ClassVar[Role]

class TrialOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRIAL_OUTCOME_UNSPECIFIED: _ClassVar[TrialOutcome]
    TRIAL_OUTCOME_TRAINS: _ClassVar[TrialOutcome]
    TRIAL_OUTCOME_DOES_NOT_TRAIN: _ClassVar[TrialOutcome]
    TRIAL_OUTCOME_DIVERGES: _ClassVar[TrialOutcome]
    TRIAL_OUTCOME_CRASHED: _ClassVar[TrialOutcome]
    TRIAL_OUTCOME_OUT_OF_MEMORY: _ClassVar[TrialOutcome]
    TRIAL_OUTCOME_HUNG: _ClassVar[TrialOutcome]
    TRIAL_OUTCOME_NOT_EXERCISED: _ClassVar[TrialOutcome]

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    PHASE_SCHEDULED: _ClassVar[Phase]
    PHASE_PEAK: _ClassVar[Phase]

class Guilty(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GUILTY_UNSPECIFIED: _ClassVar[Guilty]
    GUILTY_NONE: _ClassVar[Guilty]
    GUILTY_NOT_ZERO: _ClassVar[Guilty]
    GUILTY_STAGE: _ClassVar[Guilty]
    GUILTY_KEYS: _ClassVar[Guilty]
    GUILTY_VERSION: _ClassVar[Guilty]
    GUILTY_UNKNOWN: _ClassVar[Guilty]
VERDICT_UNSPECIFIED: Verdict
VERDICT_PASS: Verdict
VERDICT_WARN: Verdict
VERDICT_FAIL: Verdict
VERDICT_INCONCLUSIVE: Verdict
SEVERITY_UNSPECIFIED: Severity
SEVERITY_ERROR: Severity
SEVERITY_WARNING: Severity
SEVERITY_INFO: Severity
VERIFICATION_UNSPECIFIED: Verification
VERIFICATION_VERIFIED: Verification
VERIFICATION_REFUTED: Verification
VERIFICATION_NOT_TRIED: Verification
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_PASSED: Outcome
OUTCOME_FOUND: Outcome
OUTCOME_SKIPPED: Outcome
OUTCOME_ERROR: Outcome
ROLE_UNSPECIFIED: Role
ROLE_CANDIDATE: Role
ROLE_REFERENCE: Role
ROLE_STAGE: Role
ROLE_BISECT: Role
ROLE_FIX: Role
ROLE_DRILL: Role
TRIAL_OUTCOME_UNSPECIFIED: TrialOutcome
TRIAL_OUTCOME_TRAINS: TrialOutcome
TRIAL_OUTCOME_DOES_NOT_TRAIN: TrialOutcome
TRIAL_OUTCOME_DIVERGES: TrialOutcome
TRIAL_OUTCOME_CRASHED: TrialOutcome
TRIAL_OUTCOME_OUT_OF_MEMORY: TrialOutcome
TRIAL_OUTCOME_HUNG: TrialOutcome
TRIAL_OUTCOME_NOT_EXERCISED: TrialOutcome
PHASE_UNSPECIFIED: Phase
PHASE_SCHEDULED: Phase
PHASE_PEAK: Phase
GUILTY_UNSPECIFIED: Guilty
GUILTY_NONE: Guilty
GUILTY_NOT_ZERO: Guilty
GUILTY_STAGE: Guilty
GUILTY_KEYS: Guilty
GUILTY_VERSION: Guilty
GUILTY_UNKNOWN: Guilty

class Report(_message.Message):
    __slots__ = ("verdict", "headline", "findings", "recommendation", "checks", "trials", "zero", "data", "memory", "environment")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    HEADLINE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATION_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    ZERO_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    verdict: Verdict
    headline: str
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    recommendation: Fix
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    zero: ZeroReport
    data: DataReport
    memory: MemoryReport
    environment: Environment
    def __init__(self, verdict: _Optional[_Union[Verdict, str]] = ..., headline: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., recommendation: _Optional[_Union[Fix, _Mapping]] = ..., checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ..., trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ..., zero: _Optional[_Union[ZeroReport, _Mapping]] = ..., data: _Optional[_Union[DataReport, _Mapping]] = ..., memory: _Optional[_Union[MemoryReport, _Mapping]] = ..., environment: _Optional[_Union[Environment, _Mapping]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("rule", "rule_id", "severity", "message", "location", "evidence", "fix", "alternatives")
    RULE_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    FIX_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    rule: str
    rule_id: str
    severity: Severity
    message: str
    location: Location
    evidence: _struct_pb2.Struct
    fix: Fix
    alternatives: _containers.RepeatedCompositeFieldContainer[Fix]
    def __init__(self, rule: _Optional[str] = ..., rule_id: _Optional[str] = ..., severity: _Optional[_Union[Severity, str]] = ..., message: _Optional[str] = ..., location: _Optional[_Union[Location, _Mapping]] = ..., evidence: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., fix: _Optional[_Union[Fix, _Mapping]] = ..., alternatives: _Optional[_Iterable[_Union[Fix, _Mapping]]] = ...) -> None: ...

class Location(_message.Message):
    __slots__ = ("config_path", "line", "column", "row", "micro_batch", "parameter", "module", "step", "rank", "trial")
    CONFIG_PATH_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    MICRO_BATCH_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    config_path: str
    line: int
    column: int
    row: int
    micro_batch: int
    parameter: str
    module: str
    step: int
    rank: int
    trial: str
    def __init__(self, config_path: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ..., row: _Optional[int] = ..., micro_batch: _Optional[int] = ..., parameter: _Optional[str] = ..., module: _Optional[str] = ..., step: _Optional[int] = ..., rank: _Optional[int] = ..., trial: _Optional[str] = ...) -> None: ...

class Fix(_message.Message):
    __slots__ = ("description", "patch", "verification", "trial", "reason")
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PATCH_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    description: str
    patch: _containers.RepeatedCompositeFieldContainer[PatchOperation]
    verification: Verification
    trial: str
    reason: str
    def __init__(self, description: _Optional[str] = ..., patch: _Optional[_Iterable[_Union[PatchOperation, _Mapping]]] = ..., verification: _Optional[_Union[Verification, str]] = ..., trial: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class PatchOperation(_message.Message):
    __slots__ = ("op", "path", "value")
    OP_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    op: str
    path: str
    value: _struct_pb2.Value
    def __init__(self, op: _Optional[str] = ..., path: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("rule", "outcome", "reason", "rule_id")
    RULE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    rule: str
    outcome: Outcome
    reason: str
    rule_id: str
    def __init__(self, rule: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., reason: _Optional[str] = ..., rule_id: _Optional[str] = ...) -> None: ...

class Trial(_message.Message):
    __slots__ = ("name", "role", "effective_config", "patch", "adaptations", "versions", "num_ranks", "outcome", "steps", "groups", "phase_seconds", "peak_memory_bytes", "error", "reason", "launcher", "repeats", "offload", "library_set", "compared_with")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class PhaseSecondsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_CONFIG_FIELD_NUMBER: _ClassVar[int]
    PATCH_FIELD_NUMBER: _ClassVar[int]
    ADAPTATIONS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NUM_RANKS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    PHASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LAUNCHER_FIELD_NUMBER: _ClassVar[int]
    REPEATS_FIELD_NUMBER: _ClassVar[int]
    OFFLOAD_FIELD_NUMBER: _ClassVar[int]
    LIBRARY_SET_FIELD_NUMBER: _ClassVar[int]
    COMPARED_WITH_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: Role
    effective_config: _struct_pb2.Struct
    patch: _containers.RepeatedCompositeFieldContainer[PatchOperation]
    adaptations: _containers.RepeatedCompositeFieldContainer[Adaptation]
    versions: _containers.ScalarMap[str, str]
    num_ranks: int
    outcome: TrialOutcome
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    groups: _containers.RepeatedCompositeFieldContainer[ParameterGroup]
    phase_seconds: _containers.ScalarMap[str, float]
    peak_memory_bytes: int
    error: TrialError
    reason: str
    launcher: str
    repeats: str
    offload: str
    library_set: str
    compared_with: str
    def __init__(self, name: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., effective_config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., patch: _Optional[_Iterable[_Union[PatchOperation, _Mapping]]] = ..., adaptations: _Optional[_Iterable[_Union[Adaptation, _Mapping]]] = ..., versions: _Optional[_Mapping[str, str]] = ..., num_ranks: _Optional[int] = ..., outcome: _Optional[_Union[TrialOutcome, str]] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[ParameterGroup, _Mapping]]] = ..., phase_seconds: _Optional[_Mapping[str, float]] = ..., peak_memory_bytes: _Optional[int] = ..., error: _Optional[_Union[TrialError, _Mapping]] = ..., reason: _Optional[str] = ..., launcher: _Optional[str] = ..., repeats: _Optional[str] = ..., offload: _Optional[str] = ..., library_set: _Optional[str] = ..., compared_with: _Optional[str] = ...) -> None: ...

class Adaptation(_message.Message):
    __slots__ = ("path", "before", "after", "reason")
    PATH_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    path: str
    before: _struct_pb2.Value
    after: _struct_pb2.Value
    reason: str
    def __init__(self, path: _Optional[str] = ..., before: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., after: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("step", "phase", "applied", "loss", "logged_loss", "logged_grad_norm", "num_supervised_tokens", "grad_norm", "grad_norm_measured", "learning_rate", "loss_scale", "skipped_steps", "update_ratio", "num_silent_parameters", "step_seconds")
    STEP_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    LOGGED_LOSS_FIELD_NUMBER: _ClassVar[int]
    LOGGED_GRAD_NORM_FIELD_NUMBER: _ClassVar[int]
    NUM_SUPERVISED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    GRAD_NORM_FIELD_NUMBER: _ClassVar[int]
    GRAD_NORM_MEASURED_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    LOSS_SCALE_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_STEPS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_RATIO_FIELD_NUMBER: _ClassVar[int]
    NUM_SILENT_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    STEP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    step: int
    phase: Phase
    applied: bool
    loss: float
    logged_loss: float
    logged_grad_norm: float
    num_supervised_tokens: int
    grad_norm: float
    grad_norm_measured: float
    learning_rate: float
    loss_scale: float
    skipped_steps: int
    update_ratio: float
    num_silent_parameters: int
    step_seconds: float
    def __init__(self, step: _Optional[int] = ..., phase: _Optional[_Union[Phase, str]] = ..., applied: bool = ..., loss: _Optional[float] = ..., logged_loss: _Optional[float] = ..., logged_grad_norm: _Optional[float] = ..., num_supervised_tokens: _Optional[int] = ..., grad_norm: _Optional[float] = ..., grad_norm_measured: _Optional[float] = ..., learning_rate: _Optional[float] = ..., loss_scale: _Optional[float] = ..., skipped_steps: _Optional[int] = ..., update_ratio: _Optional[float] = ..., num_silent_parameters: _Optional[int] = ..., step_seconds: _Optional[float] = ...) -> None: ...

class ParameterGroup(_message.Message):
    __slots__ = ("name", "num_parameters", "num_silent_parameters", "grad_norm", "update_ratio")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUM_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    NUM_SILENT_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    GRAD_NORM_FIELD_NUMBER: _ClassVar[int]
    UPDATE_RATIO_FIELD_NUMBER: _ClassVar[int]
    name: str
    num_parameters: int
    num_silent_parameters: int
    grad_norm: float
    update_ratio: float
    def __init__(self, name: _Optional[str] = ..., num_parameters: _Optional[int] = ..., num_silent_parameters: _Optional[int] = ..., grad_norm: _Optional[float] = ..., update_ratio: _Optional[float] = ...) -> None: ...

class TrialError(_message.Message):
    __slots__ = ("type", "message", "rank", "exit_code", "signal", "log_tail")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    LOG_TAIL_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    rank: int
    exit_code: int
    signal: str
    log_tail: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., rank: _Optional[int] = ..., exit_code: _Optional[int] = ..., signal: _Optional[str] = ..., log_tail: _Optional[_Iterable[str]] = ...) -> None: ...

class ZeroReport(_message.Message):
    __slots__ = ("submitted_stage", "stages", "guilty", "guilty_keys", "recommended_patch", "explanation", "search")
    SUBMITTED_STAGE_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    GUILTY_FIELD_NUMBER: _ClassVar[int]
    GUILTY_KEYS_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDED_PATCH_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    submitted_stage: int
    stages: _containers.RepeatedCompositeFieldContainer[StageResult]
    guilty: Guilty
    guilty_keys: _containers.RepeatedScalarFieldContainer[str]
    recommended_patch: _containers.RepeatedCompositeFieldContainer[PatchOperation]
    explanation: str
    search: Search
    def __init__(self, submitted_stage: _Optional[int] = ..., stages: _Optional[_Iterable[_Union[StageResult, _Mapping]]] = ..., guilty: _Optional[_Union[Guilty, str]] = ..., guilty_keys: _Optional[_Iterable[str]] = ..., recommended_patch: _Optional[_Iterable[_Union[PatchOperation, _Mapping]]] = ..., explanation: _Optional[str] = ..., search: _Optional[_Union[Search, _Mapping]] = ...) -> None: ...

class Search(_message.Message):
    __slots__ = ("working", "num_keys", "num_trials", "acquitted", "stopped", "guilty")
    WORKING_FIELD_NUMBER: _ClassVar[int]
    NUM_KEYS_FIELD_NUMBER: _ClassVar[int]
    NUM_TRIALS_FIELD_NUMBER: _ClassVar[int]
    ACQUITTED_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    GUILTY_FIELD_NUMBER: _ClassVar[int]
    working: str
    num_keys: int
    num_trials: int
    acquitted: _containers.RepeatedScalarFieldContainer[str]
    stopped: str
    guilty: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, working: _Optional[str] = ..., num_keys: _Optional[int] = ..., num_trials: _Optional[int] = ..., acquitted: _Optional[_Iterable[str]] = ..., stopped: _Optional[str] = ..., guilty: _Optional[_Iterable[str]] = ...) -> None: ...

class StageResult(_message.Message):
    __slots__ = ("stage", "outcome", "agrees_with_reference", "loss_gap", "grad_norm_gap", "peak_memory_bytes", "step_seconds", "forecast_bytes", "offload")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    AGREES_WITH_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    LOSS_GAP_FIELD_NUMBER: _ClassVar[int]
    GRAD_NORM_GAP_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    STEP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FORECAST_BYTES_FIELD_NUMBER: _ClassVar[int]
    OFFLOAD_FIELD_NUMBER: _ClassVar[int]
    stage: int
    outcome: TrialOutcome
    agrees_with_reference: bool
    loss_gap: float
    grad_norm_gap: float
    peak_memory_bytes: int
    step_seconds: float
    forecast_bytes: int
    offload: str
    def __init__(self, stage: _Optional[int] = ..., outcome: _Optional[_Union[TrialOutcome, str]] = ..., agrees_with_reference: bool = ..., loss_gap: _Optional[float] = ..., grad_norm_gap: _Optional[float] = ..., peak_memory_bytes: _Optional[int] = ..., step_seconds: _Optional[float] = ..., forecast_bytes: _Optional[int] = ..., offload: _Optional[str] = ...) -> None: ...

class DataReport(_message.Message):
    __slots__ = ("num_rows_read", "num_rows_usable", "rejected", "format", "supervised_token_share", "length_p50", "length_p90", "length_p99", "length_max", "truncated_row_share", "samples", "notes", "selected", "mask_source")
    NUM_ROWS_READ_FIELD_NUMBER: _ClassVar[int]
    NUM_ROWS_USABLE_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SUPERVISED_TOKEN_SHARE_FIELD_NUMBER: _ClassVar[int]
    LENGTH_P50_FIELD_NUMBER: _ClassVar[int]
    LENGTH_P90_FIELD_NUMBER: _ClassVar[int]
    LENGTH_P99_FIELD_NUMBER: _ClassVar[int]
    LENGTH_MAX_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_ROW_SHARE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    SELECTED_FIELD_NUMBER: _ClassVar[int]
    MASK_SOURCE_FIELD_NUMBER: _ClassVar[int]
    num_rows_read: int
    num_rows_usable: int
    rejected: _containers.RepeatedCompositeFieldContainer[RejectedRow]
    format: _spec_pb2.Format
    supervised_token_share: float
    length_p50: int
    length_p90: int
    length_p99: int
    length_max: int
    truncated_row_share: float
    samples: _containers.RepeatedCompositeFieldContainer[Sample]
    notes: _containers.RepeatedScalarFieldContainer[str]
    selected: _containers.RepeatedCompositeFieldContainer[SelectedRow]
    mask_source: str
    def __init__(self, num_rows_read: _Optional[int] = ..., num_rows_usable: _Optional[int] = ..., rejected: _Optional[_Iterable[_Union[RejectedRow, _Mapping]]] = ..., format: _Optional[_Union[_spec_pb2.Format, str]] = ..., supervised_token_share: _Optional[float] = ..., length_p50: _Optional[int] = ..., length_p90: _Optional[int] = ..., length_p99: _Optional[int] = ..., length_max: _Optional[int] = ..., truncated_row_share: _Optional[float] = ..., samples: _Optional[_Iterable[_Union[Sample, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ..., selected: _Optional[_Iterable[_Union[SelectedRow, _Mapping]]] = ..., mask_source: _Optional[str] = ...) -> None: ...

class SelectedRow(_message.Message):
    __slots__ = ("row", "why")
    ROW_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    row: int
    why: str
    def __init__(self, row: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class RejectedRow(_message.Message):
    __slots__ = ("row", "reason")
    ROW_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    row: int
    reason: str
    def __init__(self, row: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Sample(_message.Message):
    __slots__ = ("row", "why", "tokens")
    ROW_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    row: int
    why: str
    tokens: _containers.RepeatedCompositeFieldContainer[Token]
    def __init__(self, row: _Optional[int] = ..., why: _Optional[str] = ..., tokens: _Optional[_Iterable[_Union[Token, _Mapping]]] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("id", "text", "trained")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    trained: bool
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ..., trained: bool = ...) -> None: ...

class MemoryReport(_message.Message):
    __slots__ = ("stages", "host_bytes", "largest_micro_batch_size", "calibrated_on")
    STAGES_FIELD_NUMBER: _ClassVar[int]
    HOST_BYTES_FIELD_NUMBER: _ClassVar[int]
    LARGEST_MICRO_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATED_ON_FIELD_NUMBER: _ClassVar[int]
    stages: _containers.RepeatedCompositeFieldContainer[MemoryForecast]
    host_bytes: int
    largest_micro_batch_size: int
    calibrated_on: str
    def __init__(self, stages: _Optional[_Iterable[_Union[MemoryForecast, _Mapping]]] = ..., host_bytes: _Optional[int] = ..., largest_micro_batch_size: _Optional[int] = ..., calibrated_on: _Optional[str] = ...) -> None: ...

class MemoryForecast(_message.Message):
    __slots__ = ("stage", "offload", "states_bytes", "activations_bytes", "buffers_bytes", "total_bytes", "low_bytes", "high_bytes", "available_bytes", "fits")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    OFFLOAD_FIELD_NUMBER: _ClassVar[int]
    STATES_BYTES_FIELD_NUMBER: _ClassVar[int]
    ACTIVATIONS_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUFFERS_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOW_BYTES_FIELD_NUMBER: _ClassVar[int]
    HIGH_BYTES_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FITS_FIELD_NUMBER: _ClassVar[int]
    stage: int
    offload: str
    states_bytes: int
    activations_bytes: int
    buffers_bytes: int
    total_bytes: int
    low_bytes: int
    high_bytes: int
    available_bytes: int
    fits: bool
    def __init__(self, stage: _Optional[int] = ..., offload: _Optional[str] = ..., states_bytes: _Optional[int] = ..., activations_bytes: _Optional[int] = ..., buffers_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ..., low_bytes: _Optional[int] = ..., high_bytes: _Optional[int] = ..., available_bytes: _Optional[int] = ..., fits: bool = ...) -> None: ...

class Environment(_message.Message):
    __slots__ = ("versions", "device", "launcher", "emulated", "pool")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    LAUNCHER_FIELD_NUMBER: _ClassVar[int]
    EMULATED_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.ScalarMap[str, str]
    device: str
    launcher: str
    emulated: _containers.RepeatedScalarFieldContainer[str]
    pool: str
    def __init__(self, versions: _Optional[_Mapping[str, str]] = ..., device: _Optional[str] = ..., launcher: _Optional[str] = ..., emulated: _Optional[_Iterable[str]] = ..., pool: _Optional[str] = ...) -> None: ...
