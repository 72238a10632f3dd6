"""What observations see, and how it is compared."""
