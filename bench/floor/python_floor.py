"""The floor that Python itself sets: the same loop as the floors in C, epoll_wait, recv, send, nothing parsed.

    python python_floor.py http|echo

What a server in plain Python costs above this is its own; what this costs above the C floor is the interpreter's.
"""

import os
import select
import socket
import sys

ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: floor\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\r\nHello, World!"
)


def main(scheme: str, answer: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    peers: dict[int, socket.socket] = {}
    print(f"Listening at: {scheme}://127.0.0.1:{listener.getsockname()[1]} (pid {os.getpid()})", file=sys.stderr)
    while True:
        for fd, _ in poller.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                sock.setblocking(False)
                peers[sock.fileno()] = sock
                poller.register(sock, select.EPOLLIN)
                continue
            sock = peers[fd]
            try:
                data = sock.recv(65536)
                if data:
                    sock.send(answer or data)
                    continue
            except OSError:
                pass
            del peers[fd]
            sock.close()


main("http", ANSWER) if sys.argv[1] == "http" else main("tcp", b"")
