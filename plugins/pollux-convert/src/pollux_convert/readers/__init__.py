"""The readers, a module a kind; each yields the blocks of a document in order."""
