"""The nouns: frozen values without I/O that every stage, hook and plugin shares."""
