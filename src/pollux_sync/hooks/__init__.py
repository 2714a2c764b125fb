"""The boundary to plugins: the specifications of hooks, the discovery of plugins, and the calls of their hooks."""
