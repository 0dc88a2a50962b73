"""Label and field selectors with the API server's grammar and meaning (apimachinery `labels`, `fields`)."""

from yurtcore.wire.selectors import fields, labels

__all__ = ["fields", "labels"]
