"""What the user has on this machine: keys, settings, and the skill's own folder."""
