"""Media in and out: probing, decoding with exact times, encoding clips."""
