"""The HTTP API for people and programs beyond this process: who may sign in, what each may ask, and the answers."""
