"""What the runtime needs of the world, as small Protocols. Adapters match them by shape."""
