"""What the hub answers by itself: discovery, the node's Lease, writes in the dark, reviews, and whose token it is."""
