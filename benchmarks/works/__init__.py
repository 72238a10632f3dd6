"""The works, one file for each group."""
