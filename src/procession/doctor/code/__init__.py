"""The user's code, read and not run."""
