"""The segment stage as a KFP component."""
