"""Asks for the head of an address; the token comes on standard input. Arguments: the address."""

import sys
import urllib.error
import urllib.request

request = urllib.request.Request(sys.argv[1], method="HEAD")
token = sys.stdin.read().strip()
if token:
    # Not sent on to where a redirect leads.
    request.add_unredirected_header("Authorization", "Bearer " + token)
try:
    print("http", urllib.request.urlopen(request, timeout=20).status)
except urllib.error.HTTPError as error:
    print("http", error.code, error.headers.get("x-error-code") or "")
except Exception as error:
    print("error", getattr(error, "reason", error))
