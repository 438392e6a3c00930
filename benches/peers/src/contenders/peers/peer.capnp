@0xd2a1f0c6b3e48957;

# What the capnp-rpc contender serves.
interface Peer {
  # Answered with the same bytes.
  echo @0 (body :Data) -> (body :Data);

  # One way, under the flow control of streaming calls.
  push @1 (body :Data) -> stream;
}
