"""A socket of pyzmq, told what to do line by line. Bytes are in hex, parts of a message with commas between them."""

import sys

import zmq


def main():
    context = zmq.Context()
    socket = None
    for line in sys.stdin:
        what, _, rest = line.rstrip("\n").partition(" ")
        said = "done"
        if what == "open":
            socket = context.socket(getattr(zmq, rest))
            socket.linger = 0
            socket.rcvtimeo = socket.sndtimeo = 20_000
        elif what == "number":
            name, _, value = rest.partition(" ")
            socket.setsockopt(getattr(zmq, name), int(value))
        elif what == "bytes":
            name, _, value = rest.partition(" ")
            socket.setsockopt(getattr(zmq, name), bytes.fromhex(value))
        elif what == "bind":
            socket.bind(rest)
            said = socket.last_endpoint.decode()
        elif what == "connect":
            socket.connect(rest)
        elif what == "send":
            socket.send_multipart([bytes.fromhex(part) for part in rest.split(",")])
        elif what == "recv":
            said = ",".join(part.hex() for part in socket.recv_multipart())
        elif what == "keys":
            said = " ".join(key.decode() for key in zmq.curve_keypair())
        elif what == "version":
            said = zmq.zmq_version()
        else:
            raise ValueError(line)
        print(said, flush=True)


main()
