"""The command line: parse, print, exit. The only importer of Typer and Rich, and the only one who prints."""
