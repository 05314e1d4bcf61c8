"""Sans-I/O halves of our protocols, shared by every client and server of ours."""
