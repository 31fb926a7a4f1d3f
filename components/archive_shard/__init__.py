"""The archive_shard stage as a KFP component."""
