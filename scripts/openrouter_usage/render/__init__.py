"""Strings: faces that more than one verb shows."""
