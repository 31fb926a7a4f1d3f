"""The ingest stage as a KFP component."""
