"""Copying an index into a new one while it is in use, and moving an alias from one to the other."""
