"""What the particle simulators share: pair sums, random numbers from counters, threads."""
