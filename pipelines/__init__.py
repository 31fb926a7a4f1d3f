"""The pipelines: components, composed. `python -m pipelines` compiles them into `pipelines/compiled`."""

from pathlib import Path

from kfp.dsl.base_component import BaseComponent

from pipelines.sea_ice_archive import sea_ice_archive
from pipelines.sea_ice_segmenter import sea_ice_segmenter
from pipelines.sea_ice_tracking import sea_ice_tracking
from pipelines.sea_ice_training import sea_ice_training

COMPILED = Path(__file__).parent / "compiled"
PIPELINES: dict[str, BaseComponent] = {
    "sea_ice_training": sea_ice_training,
    "sea_ice_tracking": sea_ice_tracking,
    "sea_ice_archive": sea_ice_archive,
    "sea_ice_segmenter": sea_ice_segmenter,
}
