"""Tests of the skill and the local OpenRouter they talk to."""
