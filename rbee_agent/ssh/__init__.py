"""Hosts, connections, known hosts and forwards over SSH."""
