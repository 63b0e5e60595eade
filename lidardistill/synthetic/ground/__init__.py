"""Street and ground."""
