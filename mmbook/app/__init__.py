"""The command line: a YAML file becomes model and data; train, evaluate, predict, export, doctor."""
