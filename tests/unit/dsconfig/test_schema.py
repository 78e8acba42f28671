from hotfire.dsconfig import schema
from hotfire.dsconfig.versions import parse, within


def test_lookups():
    assert schema.lookup("/zero_optimization/stage").choices == (0, 1, 2, 3)
    assert schema.lookup("/zero_optimization/prefetch_bucket_size").name == "stage3_prefetch_bucket_size"
    assert schema.lookup("/nothing") is None
    assert schema.section_at("") is schema.ROOT
    assert schema.section_at("/fp16").find("loss_scale").kind == "float"
    assert schema.section_at("/train_batch_size") is None


def test_the_nearest_name():
    zero = schema.section_at("/zero_optimization")
    assert schema.nearest("zero_optimisation", schema.ROOT) == "zero_optimization"
    assert schema.nearest("Zero-Optimization", schema.ROOT) == "zero_optimization"
    assert schema.nearest("offload_optimzer", zero) == "offload_optimizer"
    assert schema.nearest("fp8", schema.ROOT) is None, "a short name is not a misspelling of fp16"
    assert schema.nearest("ampp", schema.ROOT) is None, "nobody is sent to what was taken out"
    assert schema.edit_distance("kitten", "sitting") == 3


def test_versions():
    clipping = schema.lookup("/gradient_clipping")
    assert clipping.default_at(parse("0.19.2")) == 0.0
    assert clipping.default_at(parse(None)) == 1.0
    assert parse("v0.18.2+cu121") == (0, 18, 2)
    assert within(parse("0.17.5"), "0.17.5", "0.18") is True
    assert within(parse("0.18.0"), None, "0.18.0") is False
