"""Adds up what it is asked to: the other side of the example `zmq_python_peer`. Needs `pip install pyzmq`."""
import sys
import zmq

socket = zmq.Context().socket(zmq.REP)
socket.connect(sys.argv[1])
while True:
    who, *numbers = socket.recv_multipart()
    print(f"Python is asked by {who.decode()}: {len(numbers)} numbers", flush=True)
    socket.send_multipart([b"the sum is", str(sum(map(int, numbers))).encode()])
