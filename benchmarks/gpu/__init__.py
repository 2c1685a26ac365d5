"""What the models do on one GPU: speed, memory, training of equal budgets. `python -m benchmarks.gpu --help`."""
