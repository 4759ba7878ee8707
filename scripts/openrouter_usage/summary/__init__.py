"""Turns OpenRouter's answers into the summary of what is spent and left; pure."""
