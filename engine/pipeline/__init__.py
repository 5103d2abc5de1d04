"""One message in; ACK decision, deliveries and findings out. Pure: no socket, file, clock, logger or `await`."""
