"""Facts and formats that others rely on; pure, without I/O."""
