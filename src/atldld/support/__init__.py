"""The ground floor: files, texts, arguments, processes. It knows nothing of brains."""
