"""The ports' other side: stores, sinks, metrics, and what speaks to the network. Never imports the runtime."""
