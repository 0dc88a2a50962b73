"""What a hub keeps of its cloud, and the answers it can give from that when the cloud is gone.

All of it is pure: bytes, versions and times come in, answers and records go out. An *object* is the cloud's raw JSON; a
*set* is what one list or get asked for (kind, namespace, selectors); the *coverage* of a set says that the hub holds it
whole, as of one version, and who may read it. See `store` for the rules that tie them together.
"""
