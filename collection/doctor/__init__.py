"""`mlst doctor`: what is wrong with any video dataset."""
