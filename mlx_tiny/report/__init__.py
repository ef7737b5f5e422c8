"""What a run was, how strong its model is, and what it cost."""
