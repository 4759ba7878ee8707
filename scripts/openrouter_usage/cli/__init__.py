"""The programs: arguments in, text out, an exit code; the only place that prints."""
