"""What OpenRouter said of completed days, kept for good: days, which of them hold, and reports; pure."""
