"""Do levels mean what they say? Stability, meaning and monotony of every column, of a dataset or any videos."""
