"""The boundary: what a plugin can do, how plugins are found, and how the engine asks them."""
