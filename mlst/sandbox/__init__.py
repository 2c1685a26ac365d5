"""What the kernel can take away from a process that reads a stranger's bytes."""
