"""The SDK: typed clients of queen, hive and worker; streams that resume."""
