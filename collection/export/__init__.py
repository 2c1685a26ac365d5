"""A built dataset in the layouts of other libraries, read back."""
