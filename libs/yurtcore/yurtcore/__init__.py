"""What Yurt's services share, and the only code that they share: wire facts, flow, adapters, serving."""
