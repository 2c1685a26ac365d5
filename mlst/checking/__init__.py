"""What makes a dataset sound: `mlst verify` and `mlst lint`."""
