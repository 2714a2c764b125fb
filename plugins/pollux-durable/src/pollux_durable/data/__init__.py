"""The values of durable workflows. Nothing here reads or writes anything."""
