"""The commands, a file each: its options, and what it does with them."""
