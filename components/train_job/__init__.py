"""The train_job stage as a KFP component."""
