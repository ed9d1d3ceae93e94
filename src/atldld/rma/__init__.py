"""The service's query language: what may be said in it, and what it means."""
