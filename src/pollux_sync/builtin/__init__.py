"""What ships with the core, through the same hooks as every plugin."""
