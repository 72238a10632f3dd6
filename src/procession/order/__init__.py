"""Which index comes at which position of an epoch: pure arithmetic on (seed, epoch, length)."""
