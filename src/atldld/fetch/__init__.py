"""From ids to verified bytes on disk: the only room that speaks HTTP or touches the cache."""

from atldld.fetch.cache import Cache, CachedImage
from atldld.fetch.client import Client
from atldld.fetch.limits import Limits
from atldld.fetch.session import Session, default_session
from atldld.rma.query import RMAParameters

__all__ = [
    "Cache",
    "CachedImage",
    "Client",
    "Limits",
    "RMAParameters",
    "Session",
    "default_session",
]
