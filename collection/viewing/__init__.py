"""Any clip of a dataset, played in a browser: the page, its table, and the server that takes marks of clips."""
