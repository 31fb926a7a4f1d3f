"""How long a finished run stays in the cluster as a workflow with its pods; KFP keeps its record, logs and artifacts."""

from kfp import dsl

_DAY_S = 24 * 3600

# KFP's persistence agent removes workflows that it has recorded after a day; this takes those that it never got to see.
LIFETIME = dsl.PipelineConfig(ttl_seconds_after_finished=7 * _DAY_S)
