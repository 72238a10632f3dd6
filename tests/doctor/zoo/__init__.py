"""Sources with one planted fault each, and clean ones: what the doctor has to find, and what it must leave alone."""
