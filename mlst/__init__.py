"""What an MLST dataset is: records, levels, statistics, shards, loading and verification.

Nothing heavy is imported here; `mlst.loading` is the only module that needs torch.
"""

__version__ = "0.1.0"
