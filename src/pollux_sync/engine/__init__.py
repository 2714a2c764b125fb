"""The verbs, one module a stage: requesting, planning, preparing, sending (with retrying), enveloping."""
