"""The safe clients: they send rewritten requests and mend the answers."""
