"""A file-transfer network: servers announce files over posttroll, clients ask for them, servers move them."""

__version__ = "0.20.0"
