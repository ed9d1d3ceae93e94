from atldld.fetch.cache import Cache as Cache
from atldld.fetch.client import Client as Client
from atldld.fetch.kept import CachedImage as CachedImage
from atldld.fetch.limits import Limits as Limits
from atldld.fetch.session import Session as Session
from atldld.fetch.session import default_session as default_session
from atldld.rma.query import RMAParameters as RMAParameters
