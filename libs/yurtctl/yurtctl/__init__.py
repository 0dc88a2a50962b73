"""The `yurt` command."""
