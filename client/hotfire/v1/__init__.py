"""Generated protobuf stubs: see proto/hotfire/v1 and `make gen`."""
