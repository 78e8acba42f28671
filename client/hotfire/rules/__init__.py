"""Every rule: a pure function of evidence. No torch, no redis, no grpc, no protobuf."""
