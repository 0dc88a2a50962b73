"""The hub: the per-node proxy that every node component uses instead of kube-apiserver."""
