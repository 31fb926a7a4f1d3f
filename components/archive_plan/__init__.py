"""The archive_plan stage as a KFP component."""
