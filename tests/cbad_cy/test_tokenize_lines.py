"""What masking makes of realistic lines: the rules of `cbad_cy.tokenize`, one line each."""

import pytest

from cbad_cy import reference
from cbad_cy.tokenize import MaskPattern, Masks, Run, TokenKind, mask_line, slots, tokens

GOLDEN = {
    # web servers
    b'203.0.113.9 - - [10/Oct/2000:13:55:36 -0700] "GET /shop/cart HTTP/1.1" 200 2326':
        b'<IP> - [<T> #] "GET /shop/cart HTTP/#',
    b'203.0.113.9 - ann [01/Feb/2024:00:00:01 +0000] "POST /api/v2/orders/77?page=3 HTTP/2" 503 0':
        b'<IP> - ann [<T> +#] "POST /api/v#/orders/#?page=# HTTP/#',
    b"[Sun Dec 04 04:47:44 2005] [error] [client 198.51.100.7] File does not exist: /srv/www/favicon.ico":
        b"[<D> #] [error] [client <IP>] File does not exist: /srv/www/favicon.ico",
    b'time="2024-03-01T10:00:00Z" status=499 upstream=10.1.2.3:8443 rt=0.127':
        b'time="<T>" status=# upstream=<IP> rt=#',
    # system logs
    b"Jan 15 10:30:00 db-3 sshd[24200]: Failed password for root from 198.51.100.23 port 38926 ssh2":
        b"<D> # <T> db-# sshd[#]: Failed password for root from <IP> port # ssh#",
    b"<34>1 2024-01-15T10:30:00.003+01:00 host7 su - ID47 - 'su root' failed":
        b"<# <T> host# su - ID# - 'su root' failed",
    b"kernel: [12345.678901] eth0: link down": b"kernel: [#] eth#: link down",
    b"Monday, 15 January 2024: backup of 3 volumes done": b"<D>, #: backup of # volumes done",
    # block storage
    b"081109 203615 148 INFO store.DataNode$Responder: Responder 1 for block blk_38865049064139660 ending":
        b"# INFO store.DataNode$Responder: Responder # for block blk_# ending",
    b"081109 203518 143 INFO Receiving block blk_-1608999687919862906 src: /10.250.19.102:54106 dest: /10.250.19.102:50010":
        b"# INFO Receiving block blk_# src: <IP> dest: <IP>",
    # Java and Python
    b"java.lang.NullPointerException: Cannot invoke \"Order.id()\" because \"o\" is null":
        b"java.lang.NullPointerException: Cannot invoke \"Order.id()\" because \"o\" is null",
    b"\tat com.example.shop.CartService.add(CartService.java:142)": b"at com.example.shop.CartService.add(CartService.java:#)",
    b"Caused by: java.sql.SQLException: ORA-00060: deadlock detected":
        b"Caused by: java.sql.SQLException: ORA-#: deadlock detected",
    b"\t... 23 more": b". # more",
    b"2024-01-15 10:30:00,123 [http-nio-8080-exec-7] WARN  c.e.shop.Cart - slow":
        b"<T> [http-nio-#-exec-#] WARN c.e.shop.Cart - slow",
    b'  File "/opt/app/main.py", line 88, in run': b'File "/opt/app/main.py", line #, in run',
    b"KeyError: 'user_id'": b"KeyError: 'user_id'",
    # Kubernetes and containers
    b"Pod web-7d4b9c6f5d-x2k9p restarted 4 times": b"Pod web-<H>-<X> restarted # times",
    b"I0115 10:30:00.123456       1 controller.go:211] synced": b"I# <T> # controller.go:#] synced",
    b"image registry.example.com/shop/cart@sha256:9f86d081884c7d659a2feaa0 pulled in 1.2s":
        b"image registry.example.com/shop/cart@sha#:#f#d#c#d#a#feaa# pulled in #.#s",
    # JSON and key-value
    b'{"level":"error","ts":1705312200.123,"msg":"timeout","attempt":3,"user":"u-19"}':
        b'{"level":"error","ts":#,"msg":"timeout","attempt":#,"user":"u-#"}',
    b'{"trace":"4bf92f3577b34da6a3ce929d0e0e4736","span":"00f067aa0ba902b7"}': b'{"trace":"<H>","span":"<H>"}',
    b"ids=[1,2,3,44] delta=-12 ratio=-0.5": b"ids=[#] delta=# ratio=#",
    b'{"path":"/api/users/17/posts/3","ok":true}': b'{"path":"/api/users/#/posts/#","ok":true}',
    # databases
    b'ERROR: duplicate key value violates unique constraint "orders_pkey" (SQLSTATE 23505)':
        b'ERROR: duplicate key value violates unique constraint "orders_pkey" (SQLSTATE #)',
    b"SELECT * FROM orders WHERE id = 42 AND total > 10.50; -- 3.2 ms":
        b"SELECT * FROM orders WHERE id = # AND total > #; - # ms",
    b"ERROR 1213 (40001): Deadlock found": b"ERROR #): Deadlock found",
    # identifiers
    b"request 550e8400-e29b-41d4-a716-446655440000 done": b"request <U> done",
    b"req_550E8400-E29B-41D4-A716-446655440000_retry": b"req_<U>_retry",
    b"auth eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV refused":
        b"auth <X> refused",
    b"digest c2VjcmV0LXZhbHVlLTEyMw== ok": b"digest <X>= ok",
    b"commit 9fceb02d0ae598e95dc970b74767f19372d61af8 deployed": b"commit <H> deployed",
    b"mail from ann.lee@example.com refused with E42": b"mail from ann.lee@example.com refused with E#",
    b"HTTP_2 PROTOCOL_ERROR on stream 0x1f3": b"HTTP_# PROTOCOL_ERROR on stream <X>",
    # numbers, versions, dates
    b"upgraded 1.2.3 to 1.10.0-rc4": b"upgraded <V> to <V>-rc#",
    b"temperature -40 to 85, drift -0.25": b"temperature # to #, drift #",
    b"range 10-20 and 3:4 and 12:34": b"range <V> and <V> and <T>",
    b"due 2024/01/15 or 15-01-2024": b"due <T> or <T>",
    b"a-5 b -5": b"a-# b #",
    # a code word whose letters are hexadecimal and that is long enough is taken for a hexadecimal number
    b"failed with E1042, then with PG1042": b"failed with <H>, then with PG#",
    b"2024-01-15T10:30:00Z-5/1 2024-01-15T10:30Zulu": b"<T>-<V> <T>:#Zulu",
    # kept as they are
    b"CamelCase snake_case SCREAMING_CASE kebab-case": b"CamelCase snake_case SCREAMING_CASE kebab-case",
    "Größe überschritten: 日本語".encode(): "Größe überschritten: 日本語".encode(),
    b"===== done =====": b"= done =",
    b"  two\r\nlines \t here  ": b"two lines here",
    b"fetch https://shop.example/a/b/c.js: ok": b"fetch https://shop.example/a/b/c.js: ok",
    b"text/html and and/or": b"text/html and and/or",
    b"200 /api/orders/9 15": b"# /api/orders/# #",
}  # fmt: skip


@pytest.mark.parametrize(("line", "masked"), GOLDEN.items(), ids=lambda value: value[:40].decode(errors="replace"))
def test_line(line: bytes, masked: bytes) -> None:
    assert mask_line(line) == masked
    assert reference.mask_line(line) == masked


def test_slots_are_the_values_in_order() -> None:
    line = b"10.0.0.9:80 GET /api/v2/items/93 took -0.25 ms, 3-4 tries, E42 blk_-7 at 10:30:00 Jan ab12 "
    line += b"550e8400-e29b-41d4-a716-446655440000"
    assert slots(line) == [
        b"10.0.0.9", b"/api/v#/items/#", b"-0.25", b"3-4", b"42", b"-7", b"ab12", b"550e8400-e29b-41d4-a716-446655440000",
    ]  # fmt: skip


def test_every_kind_is_told_apart() -> None:
    line = b"word ( E42 7 550e8400-e29b-41d4-a716-446655440000 x 1.2.3.4 x 10:30 x 1.2.3 x ab12 x a1b2c3x4 Jan /a/b"
    line += b" order-7"
    masks = Masks([MaskPattern(b"ORDER", (b"order-", Run(b"0123456789")))])
    kinds = {TokenKind(token[0]) for token in tokens(line, masks=masks)}
    assert kinds == set(TokenKind)


def test_a_path_is_one_mark_on_request() -> None:
    assert mask_line(b"open /var/log/app7.log: denied", paths_as_slots=True) == b"open <P>: denied"


def test_a_folded_repeat_lengthens_the_source_range() -> None:
    line = b"ids 1, 2, 3 end"
    assert [(line[start:end]) for _, _, _, start, end in tokens(line)] == [b"ids", b"1, 2, 3", b"end"]


def test_masked_offsets_map_back_to_the_source() -> None:
    line = b"user 17 opened /srv/data/3.csv"
    found = [(TokenKind(kind).name, line[start:end]) for kind, _, _, start, end in tokens(line)]
    assert found == [("WORD", b"user"), ("NUMBER", b"17"), ("WORD", b"opened"), ("PATH", b"/srv/data/3.csv")]
