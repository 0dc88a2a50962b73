"""Tools for asyncio without I/O of their own: tasks, stopping, time, back-off."""
