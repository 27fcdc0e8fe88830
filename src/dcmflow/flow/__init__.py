"""The engine: stages, the graph that joins them, and what runs it."""
