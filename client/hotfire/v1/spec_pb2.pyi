from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Init(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INIT_UNSPECIFIED: _ClassVar[Init]
    INIT_PRETRAINED: _ClassVar[Init]
    INIT_RANDOM: _ClassVar[Init]

class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FORMAT_UNSPECIFIED: _ClassVar[Format]
    FORMAT_AUTO: _ClassVar[Format]
    FORMAT_MESSAGES: _ClassVar[Format]
    FORMAT_SHAREGPT: _ClassVar[Format]
    FORMAT_ALPACA: _ClassVar[Format]
    FORMAT_PROMPT_COMPLETION: _ClassVar[Format]
    FORMAT_TEXT: _ClassVar[Format]
    FORMAT_TOKENIZED: _ClassVar[Format]
    FORMAT_PREFERENCE: _ClassVar[Format]

class Collator(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COLLATOR_UNSPECIFIED: _ClassVar[Collator]
    COLLATOR_AUTO: _ClassVar[Collator]
    COLLATOR_PADDING: _ClassVar[Collator]
    COLLATOR_LANGUAGE_MODELING: _ClassVar[Collator]
    COLLATOR_COMPLETION: _ClassVar[Collator]

class OptimizerSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPTIMIZER_SOURCE_UNSPECIFIED: _ClassVar[OptimizerSource]
    OPTIMIZER_SOURCE_DEEPSPEED: _ClassVar[OptimizerSource]
    OPTIMIZER_SOURCE_CLIENT: _ClassVar[OptimizerSource]

class Loop(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOOP_UNSPECIFIED: _ClassVar[Loop]
    LOOP_TRAINER: _ClassVar[Loop]
    LOOP_ACCELERATE: _ClassVar[Loop]
    LOOP_DEEPSPEED: _ClassVar[Loop]
INIT_UNSPECIFIED: Init
INIT_PRETRAINED: Init
INIT_RANDOM: Init
FORMAT_UNSPECIFIED: Format
FORMAT_AUTO: Format
FORMAT_MESSAGES: Format
FORMAT_SHAREGPT: Format
FORMAT_ALPACA: Format
FORMAT_PROMPT_COMPLETION: Format
FORMAT_TEXT: Format
FORMAT_TOKENIZED: Format
FORMAT_PREFERENCE: Format
COLLATOR_UNSPECIFIED: Collator
COLLATOR_AUTO: Collator
COLLATOR_PADDING: Collator
COLLATOR_LANGUAGE_MODELING: Collator
COLLATOR_COMPLETION: Collator
OPTIMIZER_SOURCE_UNSPECIFIED: OptimizerSource
OPTIMIZER_SOURCE_DEEPSPEED: OptimizerSource
OPTIMIZER_SOURCE_CLIENT: OptimizerSource
LOOP_UNSPECIFIED: Loop
LOOP_TRAINER: Loop
LOOP_ACCELERATE: Loop
LOOP_DEEPSPEED: Loop

class PreflightSpec(_message.Message):
    __slots__ = ("model", "data", "deepspeed", "training", "cluster", "plan")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DEEPSPEED_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    model: ModelSpec
    data: DataSpec
    deepspeed: DeepSpeedSpec
    training: TrainingSpec
    cluster: ClusterSpec
    plan: PlanSpec
    def __init__(self, model: _Optional[_Union[ModelSpec, _Mapping]] = ..., data: _Optional[_Union[DataSpec, _Mapping]] = ..., deepspeed: _Optional[_Union[DeepSpeedSpec, _Mapping]] = ..., training: _Optional[_Union[TrainingSpec, _Mapping]] = ..., cluster: _Optional[_Union[ClusterSpec, _Mapping]] = ..., plan: _Optional[_Union[PlanSpec, _Mapping]] = ...) -> None: ...

class ModelSpec(_message.Message):
    __slots__ = ("hub_id", "path", "uri", "artifact", "revision", "init", "num_layers", "trust_remote_code")
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    INIT_FIELD_NUMBER: _ClassVar[int]
    NUM_LAYERS_FIELD_NUMBER: _ClassVar[int]
    TRUST_REMOTE_CODE_FIELD_NUMBER: _ClassVar[int]
    hub_id: str
    path: str
    uri: str
    artifact: str
    revision: str
    init: Init
    num_layers: int
    trust_remote_code: bool
    def __init__(self, hub_id: _Optional[str] = ..., path: _Optional[str] = ..., uri: _Optional[str] = ..., artifact: _Optional[str] = ..., revision: _Optional[str] = ..., init: _Optional[_Union[Init, str]] = ..., num_layers: _Optional[int] = ..., trust_remote_code: bool = ...) -> None: ...

class DataSpec(_message.Message):
    __slots__ = ("rows", "artifact", "uri", "hub_id", "split", "format", "role_mapping", "columns", "redact")
    class RoleMappingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ColumnsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    ROLE_MAPPING_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    REDACT_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Struct]
    artifact: str
    uri: str
    hub_id: str
    split: str
    format: Format
    role_mapping: _containers.ScalarMap[str, str]
    columns: _containers.ScalarMap[str, str]
    redact: bool
    def __init__(self, rows: _Optional[_Iterable[_Union[_struct_pb2.Struct, _Mapping]]] = ..., artifact: _Optional[str] = ..., uri: _Optional[str] = ..., hub_id: _Optional[str] = ..., split: _Optional[str] = ..., format: _Optional[_Union[Format, str]] = ..., role_mapping: _Optional[_Mapping[str, str]] = ..., columns: _Optional[_Mapping[str, str]] = ..., redact: bool = ...) -> None: ...

class DeepSpeedSpec(_message.Message):
    __slots__ = ("config", "config_json")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    config: _struct_pb2.Struct
    config_json: str
    def __init__(self, config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., config_json: _Optional[str] = ...) -> None: ...

class TrainingSpec(_message.Message):
    __slots__ = ("per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "warmup_steps", "warmup_ratio", "max_steps", "num_train_epochs", "max_grad_norm", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "optim", "bf16", "fp16", "gradient_checkpointing", "gradient_checkpointing_kwargs", "seed", "label_smoothing_factor", "enable_input_require_grads", "max_length", "packing", "assistant_only_loss", "completion_only_loss", "chat_template", "add_special_tokens", "collator", "pad_token", "eos_token", "padding_side", "truncation_side", "attn_implementation", "peft", "trainable", "frozen", "optimizer_source", "loop", "other")
    class OtherEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...
    PER_DEVICE_TRAIN_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_ACCUMULATION_STEPS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    LR_SCHEDULER_TYPE_FIELD_NUMBER: _ClassVar[int]
    WARMUP_STEPS_FIELD_NUMBER: _ClassVar[int]
    WARMUP_RATIO_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_FIELD_NUMBER: _ClassVar[int]
    NUM_TRAIN_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    MAX_GRAD_NORM_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    ADAM_BETA1_FIELD_NUMBER: _ClassVar[int]
    ADAM_BETA2_FIELD_NUMBER: _ClassVar[int]
    ADAM_EPSILON_FIELD_NUMBER: _ClassVar[int]
    OPTIM_FIELD_NUMBER: _ClassVar[int]
    BF16_FIELD_NUMBER: _ClassVar[int]
    FP16_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_CHECKPOINTING_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_CHECKPOINTING_KWARGS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LABEL_SMOOTHING_FACTOR_FIELD_NUMBER: _ClassVar[int]
    ENABLE_INPUT_REQUIRE_GRADS_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    PACKING_FIELD_NUMBER: _ClassVar[int]
    ASSISTANT_ONLY_LOSS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_ONLY_LOSS_FIELD_NUMBER: _ClassVar[int]
    CHAT_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    ADD_SPECIAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COLLATOR_FIELD_NUMBER: _ClassVar[int]
    PAD_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EOS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PADDING_SIDE_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_SIDE_FIELD_NUMBER: _ClassVar[int]
    ATTN_IMPLEMENTATION_FIELD_NUMBER: _ClassVar[int]
    PEFT_FIELD_NUMBER: _ClassVar[int]
    TRAINABLE_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_SOURCE_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    learning_rate: float
    lr_scheduler_type: str
    warmup_steps: float
    warmup_ratio: float
    max_steps: int
    num_train_epochs: float
    max_grad_norm: float
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    optim: str
    bf16: bool
    fp16: bool
    gradient_checkpointing: bool
    gradient_checkpointing_kwargs: _struct_pb2.Struct
    seed: int
    label_smoothing_factor: float
    enable_input_require_grads: bool
    max_length: int
    packing: bool
    assistant_only_loss: bool
    completion_only_loss: bool
    chat_template: str
    add_special_tokens: bool
    collator: Collator
    pad_token: str
    eos_token: str
    padding_side: str
    truncation_side: str
    attn_implementation: str
    peft: _struct_pb2.Struct
    trainable: _containers.RepeatedScalarFieldContainer[str]
    frozen: _containers.RepeatedScalarFieldContainer[str]
    optimizer_source: OptimizerSource
    loop: Loop
    other: _containers.MessageMap[str, _struct_pb2.Value]
    def __init__(self, per_device_train_batch_size: _Optional[int] = ..., gradient_accumulation_steps: _Optional[int] = ..., learning_rate: _Optional[float] = ..., lr_scheduler_type: _Optional[str] = ..., warmup_steps: _Optional[float] = ..., warmup_ratio: _Optional[float] = ..., max_steps: _Optional[int] = ..., num_train_epochs: _Optional[float] = ..., max_grad_norm: _Optional[float] = ..., weight_decay: _Optional[float] = ..., adam_beta1: _Optional[float] = ..., adam_beta2: _Optional[float] = ..., adam_epsilon: _Optional[float] = ..., optim: _Optional[str] = ..., bf16: bool = ..., fp16: bool = ..., gradient_checkpointing: bool = ..., gradient_checkpointing_kwargs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., seed: _Optional[int] = ..., label_smoothing_factor: _Optional[float] = ..., enable_input_require_grads: bool = ..., max_length: _Optional[int] = ..., packing: bool = ..., assistant_only_loss: bool = ..., completion_only_loss: bool = ..., chat_template: _Optional[str] = ..., add_special_tokens: bool = ..., collator: _Optional[_Union[Collator, str]] = ..., pad_token: _Optional[str] = ..., eos_token: _Optional[str] = ..., padding_side: _Optional[str] = ..., truncation_side: _Optional[str] = ..., attn_implementation: _Optional[str] = ..., peft: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., trainable: _Optional[_Iterable[str]] = ..., frozen: _Optional[_Iterable[str]] = ..., optimizer_source: _Optional[_Union[OptimizerSource, str]] = ..., loop: _Optional[_Union[Loop, str]] = ..., other: _Optional[_Mapping[str, _struct_pb2.Value]] = ...) -> None: ...

class ClusterSpec(_message.Message):
    __slots__ = ("num_gpus", "num_nodes", "data_parallel_size", "gpu_type", "gpu_memory_bytes", "host_memory_bytes", "num_train_rows", "versions")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NUM_GPUS_FIELD_NUMBER: _ClassVar[int]
    NUM_NODES_FIELD_NUMBER: _ClassVar[int]
    DATA_PARALLEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    GPU_TYPE_FIELD_NUMBER: _ClassVar[int]
    GPU_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    HOST_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    NUM_TRAIN_ROWS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    num_gpus: int
    num_nodes: int
    data_parallel_size: int
    gpu_type: str
    gpu_memory_bytes: int
    host_memory_bytes: int
    num_train_rows: int
    versions: _containers.ScalarMap[str, str]
    def __init__(self, num_gpus: _Optional[int] = ..., num_nodes: _Optional[int] = ..., data_parallel_size: _Optional[int] = ..., gpu_type: _Optional[str] = ..., gpu_memory_bytes: _Optional[int] = ..., host_memory_bytes: _Optional[int] = ..., num_train_rows: _Optional[int] = ..., versions: _Optional[_Mapping[str, str]] = ...) -> None: ...

class PlanSpec(_message.Message):
    __slots__ = ("num_steps", "num_ranks", "time_budget", "queue_timeout", "stages", "verify_fixes", "bisect", "save_drill", "allow_cached", "pool", "reference_deepspeed")
    NUM_STEPS_FIELD_NUMBER: _ClassVar[int]
    NUM_RANKS_FIELD_NUMBER: _ClassVar[int]
    TIME_BUDGET_FIELD_NUMBER: _ClassVar[int]
    QUEUE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIXES_FIELD_NUMBER: _ClassVar[int]
    BISECT_FIELD_NUMBER: _ClassVar[int]
    SAVE_DRILL_FIELD_NUMBER: _ClassVar[int]
    ALLOW_CACHED_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_DEEPSPEED_FIELD_NUMBER: _ClassVar[int]
    num_steps: int
    num_ranks: int
    time_budget: _duration_pb2.Duration
    queue_timeout: _duration_pb2.Duration
    stages: _containers.RepeatedScalarFieldContainer[int]
    verify_fixes: bool
    bisect: bool
    save_drill: bool
    allow_cached: bool
    pool: str
    reference_deepspeed: _struct_pb2.Struct
    def __init__(self, num_steps: _Optional[int] = ..., num_ranks: _Optional[int] = ..., time_budget: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., queue_timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., stages: _Optional[_Iterable[int]] = ..., verify_fixes: bool = ..., bisect: bool = ..., save_drill: bool = ..., allow_cached: bool = ..., pool: _Optional[str] = ..., reference_deepspeed: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...
