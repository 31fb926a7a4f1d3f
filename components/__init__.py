"""The KFP face of each stage: a few lines around one library call.

`ICEGRAPH_IMAGES` names where the images are and `ICEGRAPH_TAG` which of them, when pipelines are compiled.
"""

import os

from icegraph import __version__

IMAGES = os.environ.get("ICEGRAPH_IMAGES", "ghcr.io/icegraph")
TAG = os.environ.get("ICEGRAPH_TAG", __version__)

PIPELINE_IMAGE = f"{IMAGES}/icegraph-pipeline:{TAG}"
TRAIN_IMAGE = f"{IMAGES}/icegraph-train:{TAG}"
