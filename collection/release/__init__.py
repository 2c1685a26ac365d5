"""A dataset made ready for the Hugging Face Hub, and sent there."""
