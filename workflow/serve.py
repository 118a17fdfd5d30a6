"""Serve the built site on localhost: serve.py PORT. Needs nothing but Python."""

import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"


def main(port: str) -> None:
    if not (SITE / "index.html").is_file():
        sys.exit("error: there is no site yet: run make book first")
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        sys.exit(f"error: PORT={port}: give a whole number from 1 to 65535, such as PORT=8000")
    try:
        server = ThreadingHTTPServer(("127.0.0.1", int(port)), partial(SimpleHTTPRequestHandler, directory=str(SITE)))
    except OSError as error:
        sys.exit(
            f"error: PORT={port}: {error.strerror}: give another one, such as PORT={8001 if port == '8000' else 8000}"
        )
    address = f"http://localhost:{port}/"
    print(f"{address} (Ctrl-C ends it)", flush=True)
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen([sys.executable, "-m", "webbrowser", address], **quiet)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main(sys.argv[1])
