"""Models that answer over REST and gRPC: the Open Inference Protocol (v2) and KServe's v1, on the parts of KServe's Python server.

Nothing is imported here: `icegraph --help` must not wait for torch.
"""

import sys
from types import ModuleType

# KServe's package begins with its client of the Kubernetes API, for which a server would wait a second and has no use.
_CLIENT = "kserve.api.kserve_client"
if "kserve" not in sys.modules:
    sys.modules[_CLIENT] = ModuleType(_CLIENT)
    sys.modules[_CLIENT].KServeClient = None  # type: ignore[attr-defined]
