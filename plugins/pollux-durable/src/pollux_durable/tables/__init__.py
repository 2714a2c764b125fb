"""The tables of this package, in the database of the engine: one module a table."""
