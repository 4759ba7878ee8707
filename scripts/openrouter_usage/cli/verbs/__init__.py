"""The verbs of cost_tracker.py, one per file: `describe` adds the arguments, `run` does the work."""
