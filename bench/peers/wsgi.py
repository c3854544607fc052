# SPDX-License-Identifier: MIT
"""The demo's /hello, /sleep and /stick as a WSGI application, for gunicorn and uWSGI."""
import time
from urllib.parse import parse_qs


def really_sleep(seconds):
    """Block the thread, also where gevent has put its own sleep in the place of the real one."""
    try:
        from gevent.monkey import get_original
    except ImportError:
        time.sleep(seconds)
    else:
        get_original("time", "sleep")(seconds)


def application(environ, start_response):
    wanted = parse_qs(environ.get("QUERY_STRING", "")).get("ms", ["forever"])[0]
    seconds = 1e6 if wanted == "forever" else float(wanted) / 1000
    if environ["PATH_INFO"] == "/sleep":
        time.sleep(seconds)
    elif environ["PATH_INFO"] == "/stick":
        really_sleep(seconds)
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "6")])
    return [b"hello\n"]
