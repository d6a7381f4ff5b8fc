"""A real browser in front of the status page, as an operator has it through `ssh -L 8080:/run/penstock/api.sock`."""

import re
import shutil
import socket
import subprocess
import tempfile
import threading

LIMIT_S = 90


class Tunnelled:
    """A port of localhost that leads to a unix socket, as ssh's -L makes one. Use as a context manager."""

    def __init__(self, path):
        self.path = str(path)

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://localhost:{self.listener.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                browser, _ = self.listener.accept()
            except OSError:
                return
            gateway = socket.socket(socket.AF_UNIX)
            gateway.connect(self.path)
            for source, sink in ((browser, gateway), (gateway, browser)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()


class Page:
    """What a browser made of a page after `milliseconds` of its time: the elements, and what it complained about."""

    def __init__(self, url, milliseconds=7000, screenshot=None, size=(1200, 1700), dark=False):
        program = shutil.which("chromium") or "/usr/bin/chromium"
        with tempfile.TemporaryDirectory() as profile:
            words = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}", "--hide-scrollbars",
                     "--enable-logging=stderr", "--v=0", f"--virtual-time-budget={milliseconds}"]
            words += ["--force-dark-mode", "--enable-features=WebContentsForceDark"] if dark else []
            words += [f"--screenshot={screenshot}"] if screenshot else ["--dump-dom"]
            done = subprocess.run([*words, url], capture_output=True, text=True, timeout=LIMIT_S, check=True)
        self.html = done.stdout
        self.complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    def text(self, element_id):
        """The text of an element, without its elements."""
        found = re.search(rf'<(\w+)[^>]*\bid="{element_id}"[^>]*>(.*?)</\1>', self.html, re.DOTALL)
        assert found, f"no element {element_id} in {self.html[:2000]}"
        return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", found[2])).strip()

    def rows(self, element_id):
        """The rows of a table, each a list of its cells' texts."""
        found = re.search(rf'<table[^>]*\bid="{element_id}"[^>]*>(.*?)</table>', self.html, re.DOTALL)
        assert found, f"no table {element_id} in {self.html[:2000]}"
        body = found[1].partition("<tbody>")[2]
        return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)]
                for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)]
