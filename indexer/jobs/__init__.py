"""Work on whole indices: what it is for, how far it is, and who runs it."""
