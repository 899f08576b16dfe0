"""A server with a process for each client: it sends each line back in capitals. Try it: nc 127.0.0.1 9000."""

from allcomers import Delimited, Server


class Upper(Server):
    framing = Delimited(b"\n")

    def request(self, data: bytes) -> bytes:
        return data.upper()


if __name__ == "__main__":
    Upper(port=9000, model="process").serve_forever()
