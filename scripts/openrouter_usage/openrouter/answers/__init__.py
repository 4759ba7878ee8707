"""What OpenRouter's answers mean, read and checked; pure."""
