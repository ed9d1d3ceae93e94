"""For tests of clients and of image sources: a server that misbehaves on purpose."""
