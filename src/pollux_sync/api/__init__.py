"""The calls that a script makes, one module a family."""
