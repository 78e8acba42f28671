"""The key table: what each optimizer takes in `optimizer.params`.

Source: `DeepSpeedEngine._configure_basic_optimizer` and `get_optimizer_configuration` (0.14.5 to 0.19.8), the
constructors in deepspeed/ops and deepspeed/runtime/fp16/onebit, torch.optim 2.13. Where the class hangs on offload or
on `torch_adam`, the names of all the classes together: another name is a TypeError in each of them.
"""

from __future__ import annotations

_TORCH = "foreach maximize capturable differentiable fused"
_ADAM = (
    "lr betas eps weight_decay amsgrad bias_correction set_grad_none adam_w_mode torch_adam fp32_optimizer_states "
    f"decoupled_weight_decay {_TORCH}"
)
_ONE_BIT = (
    "lr freeze_step bias_correction betas eps eps_inside_sqrt weight_decay max_grad_norm amsgrad cuda_aware"
)

_NAMES = {
    "adam": _ADAM,
    "adamw": _ADAM,
    "adagrad": f"lr lr_decay weight_decay initial_accumulator_value eps amsgrad fp32_optimizer_states {_TORCH}",
    "lamb": "lr bias_correction betas eps eps_inside_sqrt weight_decay max_grad_norm max_coeff min_coeff amsgrad",
    "lion": "lr betas weight_decay set_grad_none fp32_optimizer_states",
    "onebitadam": f"{_ONE_BIT} comm_backend_name",
    "onebitlamb": f"{_ONE_BIT} comm_backend_name max_coeff min_coeff coeff_beta factor_max factor_min factor_threshold",
    "zerooneadam": f"{_ONE_BIT} comm_backend_name var_freeze_step var_update_scaler local_step_scaler "
    "local_step_clipper",
    "sgd": f"lr momentum dampening weight_decay nesterov {_TORCH}",
}
OPTIMIZERS: dict[str, tuple[str, ...]] = {kind: tuple(names.split()) for kind, names in _NAMES.items()}
"""Type in lower case -> every parameter that it takes. A type that is not here is not judged."""
