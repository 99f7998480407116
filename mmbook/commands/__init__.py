"""The commands of `mmbook` that train, use and pack models, one a file; `mmbook.cli` puts them together."""
