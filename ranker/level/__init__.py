"""What a level does to a document, as numbers and as queries."""
