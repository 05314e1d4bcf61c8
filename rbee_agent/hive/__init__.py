"""One host: devices, model files, worker processes, and the API and command line to them."""
