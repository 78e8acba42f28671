"""The key table: `data_efficiency`.

Source: deepspeed/runtime/data_pipeline/{config,constants}.py and data_routing/{scheduler,basic_layer}.py of
DeepSpeed 0.19.8. The metrics of a curriculum have names of the user's own.
"""

from __future__ import annotations

from hotfire.dsconfig.schema_keys import Key, flag, integer, number, section, text, unchecked

_RANDOM_LTD = section(
    "random_ltd",
    flag("enabled"),
    integer("total_layer_num"),
    integer("random_ltd_layer_num"),
    Key(name="random_ltd_layer_id", kind="list"),
    text("model_mask_name", nullable=True),
    text("model_type"),
    text("hidden_state_order"),
    integer("micro_batch_size"),
    integer("global_batch_size"),
    section(
        "random_ltd_schedule",
        integer("min_value"),
        integer("max_value"),
        text("schedule_type"),
        section("schedule_config", integer("require_steps"), integer("seq_per_step"), number("root_degree")),
    ),
    section(
        "layer_token_lr_schedule",
        flag("enabled"),
        *unchecked("total_layer_tokens warmup_type warmup_layer_tokens"),
    ),
)

_DATA_SAMPLING = section(
    "data_sampling",
    flag("enabled"),
    integer("num_epochs", 1000),
    integer("num_workers", 0),
    flag("pin_memory"),
    section("curriculum_learning", any_key=True),
    section("dynamic_batching", any_key=True),
)

DATA_EFFICIENCY = section(
    "data_efficiency",
    flag("enabled"),
    integer("seed", 1234),
    _DATA_SAMPLING,
    section("data_routing", flag("enabled"), _RANDOM_LTD),
)
