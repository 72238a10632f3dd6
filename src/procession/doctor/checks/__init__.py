"""The checks: a file for each question, with the codes under which it answers."""
