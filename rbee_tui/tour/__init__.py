"""The docs' tour of the control center: pictures and a table of keys, made by the app itself."""
