"""For those who write channels, steps and sinks: builders, site folders and fakes. Shipped with the engine."""
