"""A small client of charon's control socket, `vici`: one command a connection.

strongSwan's README of the vici plugin is the reference. A message is a tree:
sections are dicts, lists are lists of strings, values are strings.
"""

import struct

_REQUEST, _RESPONSE, _REGISTER, _CONFIRM, _EVENT = 0, 1, 3, 5, 7
_SECTION, _SECTION_END, _VALUE, _LIST, _ITEM, _LIST_END = range(1, 7)


class Refused(Exception):
    """charon did not do it."""


def ask(link, command, message=None, events=""):
    """Sends a command over a connected socket; returns (answer, the messages of an event that came meanwhile)."""
    seen = []
    with link:
        if events:
            _send(link, _REGISTER, events)
            if (kind := _receive(link)[0]) != _CONFIRM:
                raise Refused(f"no event {events!r} ({kind})")
        _send(link, _REQUEST, command, encode(message or {}))
        while True:
            kind, body = _receive(link)
            if kind == _EVENT:
                seen.append(decode(body[1 + body[0]:]))
            elif kind == _RESPONSE:
                return decode(body), seen
            else:
                raise Refused(f"charon does not know the command {command!r} ({kind})")


class Events:
    """Events as they come, over a connection of their own. Use as a context manager."""

    def __init__(self, link, *names):
        self.link, self.names = link, names

    def __enter__(self):
        for name in self.names:
            _send(self.link, _REGISTER, name)
            while (kind := _receive(self.link)[0]) != _CONFIRM:
                if kind != _EVENT:
                    raise Refused(f"no event {name!r} ({kind})")
        return self

    def __exit__(self, *_):
        self.link.close()

    def next(self, limit_s):
        """The next one, as (name, message); None when none comes in time."""
        self.link.settimeout(limit_s)
        try:
            kind, body = _receive(self.link)
        except TimeoutError:
            return None
        if kind != _EVENT:
            raise Refused(f"not an event ({kind})")
        return body[1:1 + body[0]].decode(), decode(body[1 + body[0]:])


def _send(link, kind, name, body=b""):
    packet = bytes([kind, len(name)]) + name.encode() + body
    link.sendall(struct.pack("!I", len(packet)) + packet)


def _receive(link):
    length, = struct.unpack("!I", _exactly(link, 4))
    packet = _exactly(link, length)
    return packet[0], packet[1:]


def _exactly(link, size):
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            raise ConnectionError("charon closed its control socket")
        data += more
    return data


def encode(tree):
    """A tree as charon reads it."""
    out = b""
    for key, value in tree.items():
        name = bytes([len(key)]) + key.encode()
        if isinstance(value, dict):
            out += bytes([_SECTION]) + name + encode(value) + bytes([_SECTION_END])
        elif isinstance(value, (list, tuple)):
            items = b"".join(bytes([_ITEM]) + _sized(item) for item in value)
            out += bytes([_LIST]) + name + items + bytes([_LIST_END])
        else:
            out += bytes([_VALUE]) + name + _sized(value)
    return out


def _sized(value):
    data = value if isinstance(value, bytes) else str(value).encode()
    return struct.pack("!H", len(data)) + data


def decode(data):
    """A tree from what charon sent."""
    at, stack, items = 0, [{}], None
    while at < len(data):
        kind, at, name = data[at], at + 1, ""
        if kind in (_SECTION, _VALUE, _LIST):
            name, at = data[at + 1:at + 1 + data[at]].decode(), at + 1 + data[at]
        if kind in (_VALUE, _ITEM):
            length, = struct.unpack_from("!H", data, at)
            value, at = data[at + 2:at + 2 + length].decode(errors="replace"), at + 2 + length
            if kind == _VALUE:
                stack[-1][name] = value
            else:
                items.append(value)
        elif kind == _SECTION:
            stack.append(stack[-1].setdefault(name, {}))
        elif kind == _SECTION_END:
            stack.pop()
        elif kind == _LIST:
            items = stack[-1][name] = []
    return stack[0]
