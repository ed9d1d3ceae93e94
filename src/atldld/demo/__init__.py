"""The demo brain: genuine records, and pictures drawn from a brain that is known everywhere."""
