"""What is seen of a run: log lines, progress, the summary, the report. Knows only the events of the engine."""
