from hotfire.dsconfig.unsafe import UNSAFE_KEYS, neutralise


def nested(pointer, value):
    for part in reversed(pointer.strip("/").split("/")):
        value = {part: value}
    return value


def test_every_unsafe_key_is_taken_out_and_reported():
    for pointer in UNSAFE_KEYS:
        given = nested(pointer, {"x": 1})
        safe, changes = neutralise(given)
        assert [change.path for change in changes] == ["/deepspeed" + pointer]
        assert changes[0].before == {"x": 1}
        assert changes[0].reason
        assert given == nested(pointer, {"x": 1}), "the given config is left as it is"
        assert safe != given


def test_nvme_becomes_cpu_and_the_rest_stays():
    offload = {"device": "nvme", "nvme_path": "/disk", "pin_memory": True}
    safe, changes = neutralise(
        {"zero_optimization": {"stage": 3, "offload_param": offload}, "my_monitor": {}}
    )
    assert safe == {"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu", "pin_memory": True}}}
    device = next(c for c in changes if c.path.endswith("/device"))
    assert (device.path, device.before, device.after) == (
        "/deepspeed/zero_optimization/offload_param/device",
        "nvme",
        "cpu",
    )


def test_a_harmless_config_is_not_changed():
    given = {"zero_optimization": 3, "flops_profiler": {"enabled": True}, "wall_clock_breakdown": True}
    assert neutralise(given) == (given, [])
