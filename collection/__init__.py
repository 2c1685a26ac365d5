"""How an MLST dataset is made: manifest, fetch, scan, select, pack, verify."""
