"""As much of PostgreSQL's frontend protocol as a link needs to recognise a statement, also when it is prepared.

Messages are a type byte, a length that counts itself (big endian, 4 bytes), and a body; those before the session have no type.
https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
HEAD_BYTES = 5
READY = b"Z\x00\x00\x00\x05I"
"""ReadyForQuery outside a transaction: what the statement did is committed."""


class Frontend:
    """What one client says, in pieces of any size. `take` tells whether a piece executes a statement that holds `marker`."""

    def __init__(self) -> None:
        self._rest = b""
        self._skip = 0
        self._typed = False
        self._statements: dict[bytes, bytes] = {}  # name -> text

    def take(self, piece: bytes, marker: bytes) -> bool:
        found = False
        self._rest += piece
        while True:
            if self._skip:
                taken = min(self._skip, len(self._rest))
                self._rest, self._skip = self._rest[taken:], self._skip - taken
                if self._skip:
                    return found
            if not self._typed:
                if len(self._rest) < 8:
                    return found
                size, code = int.from_bytes(self._rest[:4], "big"), int.from_bytes(self._rest[4:8], "big")
                self._typed = code not in (SSL_REQUEST, GSS_REQUEST)
                self._skip = size
                continue
            if len(self._rest) < HEAD_BYTES:
                return found
            kind, size = self._rest[:1], 1 + int.from_bytes(self._rest[1:5], "big")
            # Of a Bind only the names at its beginning matter; what is bound may be megabytes.
            if len(self._rest) < (size if kind in b"PQ" else min(size, 256) if kind == b"B" else HEAD_BYTES):
                return found
            found |= self._executes(kind, self._rest[HEAD_BYTES : min(size, len(self._rest))], marker)
            self._skip = size

    def _executes(self, kind: bytes, body: bytes, marker: bytes) -> bool:
        if kind == b"P":
            name, text = body.split(b"\0", 2)[:2]
            self._statements[name] = text
        elif kind == b"Q":
            return marker in body
        elif kind == b"B":
            name = body.split(b"\0", 2)[1]
            return marker in self._statements.get(name, b"")
        return False
