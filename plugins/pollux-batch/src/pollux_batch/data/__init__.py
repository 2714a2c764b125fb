"""The nouns of bulk work: frozen values, without I/O."""
