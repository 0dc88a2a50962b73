"""The benchmark of the hub's data path: ours, Go's reverse proxy and nginx in one run (`docs/benchmarks.md`)."""
