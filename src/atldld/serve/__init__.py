"""The local service: an archive that answers at the Allen Institute's own URLs."""
