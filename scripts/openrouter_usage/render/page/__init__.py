"""A report as a page to look at, and as its chart alone."""
