"""For tests: a scripted executor and its oracle, and sources that die at every chosen moment."""
