"""The track stage as a KFP component."""
