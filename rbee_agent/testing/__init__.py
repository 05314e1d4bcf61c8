"""Fakes that ship: clock, fleet, fault-injecting worker."""
