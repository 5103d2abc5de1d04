"""MLLP: blocks out of a byte stream in any cut, and the sender's side of an exchange. Pure; standard library only."""
