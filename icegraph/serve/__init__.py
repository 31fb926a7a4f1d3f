"""Models that answer over REST and gRPC: the Open Inference Protocol (v2) and KServe's v1, on the parts of KServe's Python server.

Nothing is imported here: `icegraph --help` must not wait for torch.
"""
