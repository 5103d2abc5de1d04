"""The console: pages for people in a browser, made on the server from what the API's handlers work with."""
