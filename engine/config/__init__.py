"""Channel files and the site file: read with positions, checked as a whole, explained to people."""
