#!/bin/bash
nproc_per_node=4
export NNODES=2
NPROC_PER_NODE=$nproc_per_node \
swift sft \
    --model org/base-32b \
    --tuner_type full \
    --dataset rows.jsonl \
    --torch_dtype bfloat16 \
    --deepspeed zero3_offload \
    --zero_hpz_partition_size 4 \
    --attn_impl flash_attn \
    --packing true \
    --freeze_parameters visual. \
    --trainable_parameters_regex 'model\.layers\.3\d' \
    --loss_scale all \
    --gradient_accumulation_steps $(expr 32 / $nproc_per_node) \
    --learning_rate=1e-5
