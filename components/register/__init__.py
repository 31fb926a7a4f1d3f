"""The register stage as a KFP component."""
