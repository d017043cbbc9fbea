"""Many documents at a time: walking through indices, requests of a fitting size, outages."""
