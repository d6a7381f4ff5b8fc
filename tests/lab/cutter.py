"""Between charon's plugin and control: passes all messages on, and cuts a connection where a test wants it.

Control's socket is moved aside and ours takes its name. A frame begins with a
length of four bytes, a version and a type (docs/charon-plugin.md).
"""

import contextlib
import os
import socket
import struct
import threading

BEFORE, AFTER, INSIDE = "before the request arrives", "before the answer arrives", "in the middle of the answer"


class Cutter:
    """Use as a context manager; the plugin's connections to control pass through."""

    def __init__(self, path):
        self.path, self.real = str(path), f"{path}.real"
        self.wish, self.cuts, self.seen = None, 0, []  # wish: type, where, and what else to do
        self.open = []
        self.stopping = False

    def __enter__(self):
        os.rename(self.path, self.real)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o600)
        self.listener.listen(64)
        self.cut_all()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.listener.close()
        os.rename(self.real, self.path)
        self.cut_all()

    def cut(self, kind, where, then=None):
        """The next message of this type is cut; `then` is called at that point, before the plugin notices."""
        self.wish = (kind, where, then or (lambda: None))

    def cut_all(self):
        """Ends every connection that is open now."""
        for link in self.open:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        self.open = []

    def _accept(self):
        while not self.stopping:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link):
        with contextlib.suppress(OSError), link, socket.socket(socket.AF_UNIX) as control:
            control.connect(self.real)
            self.open += [link, control]
            request = _frame(link)
            if not request:
                return
            kind = request[5]
            self.seen.append(kind)
            where = then = None
            if self.wish and self.wish[0] == kind:
                _, where, then = self.wish
                self.wish, self.cuts = None, self.cuts + 1
            if where == BEFORE:
                then()
                return
            control.sendall(request)
            answer = _frame(control)
            if where == INSIDE:
                link.sendall(answer[:len(answer) // 2])
            if where in (INSIDE, AFTER):
                then()
                return
            link.sendall(answer)
            self._both_ways(link, control)

    @staticmethod
    def _both_ways(link, control):
        """What stays open is the connection of events: bytes, whichever way."""
        def pass_on(source, target):
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

        back = threading.Thread(target=pass_on, args=(control, link), daemon=True)
        back.start()
        pass_on(link, control)
        back.join()


def _frame(link):
    """One whole frame; what there was of it when the connection ends."""
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack("!I", data[:4])[0]:
        more = link.recv(65536)
        if not more:
            return data
        data += more
    return data
