"""From radar files to batches of windows."""
