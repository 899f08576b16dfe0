"""A server with one thread for all clients, by epoll(7): it sends lines back in capitals. Try it: nc 127.0.0.1 9000."""

from allcomers import Delimited, Server


class Upper(Server):
    framing = Delimited(b"\n")

    def request(self, data: bytes) -> bytes:
        return data.upper()


if __name__ == "__main__":
    Upper(port=9000, model="epoll").serve_forever()
