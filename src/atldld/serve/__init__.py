"""The local service: an archive that answers the Allen Institute's own URLs, and the demo brain."""
