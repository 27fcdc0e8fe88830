"""Associations over anyio: who calls whom, over which connection, and what is done on it."""
