"""What published datasets need later: drift, rebuild, takedown."""
