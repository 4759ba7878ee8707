"""What a check-up makes of what it saw: findings, without input or output."""
