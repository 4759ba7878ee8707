"""Turns results into strings, one file per face; nothing here prints."""
