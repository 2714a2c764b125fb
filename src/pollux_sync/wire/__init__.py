"""A toolbox for plugins: HTTP over requests, faults, Chat Completions. The engine does not import it."""
