"""The version of the skill; SKILL.md, CHANGELOG.md and the marketplace file carry the same one."""

VERSION = "0.1.0"
