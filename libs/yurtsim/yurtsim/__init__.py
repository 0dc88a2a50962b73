"""The local site for `yurt up` and for tests: real control plane, links that can be cut, hollow nodes."""
