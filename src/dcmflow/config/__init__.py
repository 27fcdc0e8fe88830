"""Files become pipelines and settings: the pipeline file, the user's settings, their schema and their drawing."""
