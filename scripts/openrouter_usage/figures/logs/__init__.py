"""What other programs logged about calls, one module per program; pure."""
