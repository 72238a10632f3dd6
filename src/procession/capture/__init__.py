"""How a source travels to the workers once, and how what changes on it later follows."""
