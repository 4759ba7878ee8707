"""The verbs of cost_tracker.py, one a file: `describe` names the arguments, `run` does it."""
