"""The archive_report stage as a KFP component."""
