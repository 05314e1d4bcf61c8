"""Hosts, connections, known hosts, keep-alive, forwards."""
