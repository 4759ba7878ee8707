"""Tries the skill with public validators and real installers; too heavy for every run of the tests, hence `make validate`."""
