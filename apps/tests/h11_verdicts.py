#!/usr/bin/env python3
"""Prints h11's verdicts on requests.

Each line of the standard input has the bytes of a connection in hexadecimal digits. For each, a
line with the verdicts is printed: `taken` for each complete and valid request, the status that h11
proposes for an invalid one, and `closed` if there is no request.
"""
import sys

import h11


def verdict(data):
    said = []
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    connection.receive_data(b"")
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.EndOfMessage):
                said.append("taken")
                connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    break
                connection.start_next_cycle()
            elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                break
    except h11.RemoteProtocolError as error:
        said.append(str(error.error_status_hint))
    return " ".join(said) or "closed"


for line in sys.stdin:
    print(verdict(bytes.fromhex(line.strip())))
