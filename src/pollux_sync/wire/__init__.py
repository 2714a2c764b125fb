"""A toolbox for plugins: HTTP over requests, faults, events, Chat Completions, SDKs. The engine does not import it."""
