"""Make the calls that `test_allensdk` asks for, with the published AllenSDK, and say what came.

Run by the interpreter that AllenSDK is installed for. Each line of the standard input is a call as
JSON, ``{"address": …, "api": "RmaApi", "method": …, "args": […], "kwargs": {…}}``, and each line of
the standard output is its result, ``{"value": …}`` or ``{"error": …, "status": …, "text": …}``.
Nothing but public methods of AllenSDK is used, and its own way of choosing another server.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from functools import cache
from typing import Any

from allensdk.api.queries.image_download_api import ImageDownloadApi
from allensdk.api.queries.rma_api import RmaApi
from allensdk.api.queries.synchronization_api import SynchronizationApi

APIS = {api.__name__: api for api in (ImageDownloadApi, RmaApi, SynchronizationApi)}


@cache
def client(name: str, address: str) -> Any:
    return APIS[name](base_uri=address)


def plain(value: Any) -> Any:
    if type(value).__name__ == "DataFrame":
        return {"columns": list(value.columns), "rows": json.loads(value.to_json(orient="records"))}
    return value


def reason(error: Exception) -> tuple[int | None, str]:
    """Return the status and the body that urllib or requests has kept."""
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code, response.text
    if hasattr(error, "code") and hasattr(error, "read"):
        return error.code, error.read().decode()
    return None, str(error)


def main() -> None:
    # whatever a library prints must not come between the results
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logging.disable()
    for line in sys.stdin:
        call = json.loads(line)
        method = getattr(client(call["api"], call["address"]), call["method"])
        try:
            result = {"value": plain(method(*call["args"], **call["kwargs"]))}
        except Exception as error:
            status, text = reason(error)
            result = {"error": type(error).__name__, "status": status, "text": text}
        print(json.dumps(result), file=results, flush=True)


if __name__ == "__main__":
    main()
