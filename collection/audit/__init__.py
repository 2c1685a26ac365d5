"""What is wrong with the clips of any video dataset: a sample is looked at, and the share of bad ones estimated."""
