"""What a user can run: one task each."""
