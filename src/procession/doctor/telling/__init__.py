"""How a diagnosis is told: in a terminal, as a page, in the documentation."""
