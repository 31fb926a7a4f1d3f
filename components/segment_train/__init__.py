"""The segment_train stage as a KFP component."""
