//! CBOR RPC over sockets, through the handles and with a client of another implementation.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use bowline::blocking::{Client, Server};
use bowline::error::{CallError, Failure, Status};
use bowline::{CallOptions, Config};
use bowline_forestbus::protocol::{Receive, Received, Reply, Request, Sent};
use bowline_forestbus::wire::{CborRpc, Codec, Method, text_of};

fn config() -> Config<CborRpc> {
    Config::with_framing(CborRpc::new()).build().expect("valid")
}

/// Answers as the node of the recordings did: the third message of a topic is a slow long poll.
fn answer(request: &Request) -> Reply {
    match request {
        Request::Send(_) => Reply::Sent(Sent { status: success(), ids: vec![3] }),
        Request::Receive(Receive { id, wait, .. }) => {
            if *wait {
                std::thread::sleep(Duration::from_millis(100));
            }
            let messages = vec!["a".into(), "b".into()];
            Reply::Received(Received { status: success(), messages, next_id: id + 2 })
        }
        _ => Reply::Error("Topic not found on server.".into()),
    }
}

fn success() -> bowline_forestbus::protocol::Status {
    bowline_forestbus::protocol::Status { description: "Success".into(), ..Default::default() }
}

fn node() -> Server<CborRpc> {
    let builder = Server::with_config(config()).on_request(|request| {
        let name = text_of(request.extensions()).into_owned();
        let Some(method) = Method::from_number(request.method()) else {
            assert!(!name.starts_with("RPCHandler.Get"));
            return Err(Failure::new(Status::NO_METHOD, ""));
        };
        assert_eq!(name, method.name());
        let body = request.into_body().into_bytes();
        let read = Codec::new().read_request(method, &body);
        let request = read.map_err(|error| Failure::new(Status::FAILED, error.to_string()))?;
        let mut out = Vec::new();
        Codec::new().write_reply(&answer(&request), &mut out)?;
        Ok(out)
    });
    let server = builder.bind("127.0.0.1:0").expect("a free port");
    server.start().expect("a thread");
    server
}

fn recorded(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("forestbus/tests/data/cbor");
    let text = std::fs::read_to_string(folder.join(name)).expect("a recording");
    let digit = |byte: u8| (byte as char).to_digit(16).expect("hex") as u8;
    text.trim().as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn a_server_answers_what_a_go_client_sent() {
    let server = node();
    for name in ["send_wait", "unknown_method", "unknown_service", "method_without_dot"] {
        let address = server.local_addr().to_string();
        let mut stream = TcpStream::connect(address.trim_start_matches("tcp://")).expect("it listens");
        stream.write_all(&recorded(&format!("{name}.req.hex"))).expect("it reads");
        let expected = recorded(&format!("{name}.resp.hex"));
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(answer, expected, "{name}");
    }
    server.shutdown();
}

#[test]
fn a_client_calls_by_number_and_by_name_and_replies_overtake_each_other() {
    let server = node();
    let client =
        Client::with_config(server.local_addr().to_string(), config()).connect().expect("it listens");
    let codec = Codec::new();
    let call = |request: &Request| {
        let mut body = Vec::new();
        codec.write_request(request, &mut body).expect("few items");
        let method = request.method();
        match client.call_with(CallOptions::new(method.number()), body) {
            Ok(reply) => codec.read_reply(method, &reply.body.into_bytes()).expect("a reply"),
            Err(CallError::Failed(failure)) => Codec::read_failure(&failure),
            Err(error) => panic!("{error}"),
        }
    };
    let receive = |id, wait| Request::Receive(Receive { topic: "t".into(), id, wait, ..Receive::default() });
    std::thread::scope(|scope| {
        let slow = receive(1, true);
        let slow = scope.spawn(move || call(&slow));
        for id in 2..50 {
            assert_eq!(call(&receive(id, false)), answer(&receive(id, false)));
        }
        assert_eq!(slow.join().expect("no panic"), answer(&receive(1, false)));
    });
    let details = Request::TopicDetails { topic: "t".into() };
    assert_eq!(call(&details), Reply::Error("Topic not found on server.".into()));
    let named = CallOptions::new(0).extensions(b"RPCHandler.Nope".to_vec());
    match client.call_with(named, vec![0x60]) {
        // A text is not a valid body: it is refused before anything is sent.
        Err(CallError::Encode(_)) => {}
        other => panic!("{other:?}"),
    }
    let named = CallOptions::new(0).extensions(b"RPCHandler.Nope".to_vec());
    match client.call_with(named, vec![0xa0]) {
        Err(CallError::Failed(failure)) => {
            assert_eq!(failure.status, Status::NO_METHOD);
            assert_eq!(failure.body, "rpc: can't find method RPCHandler.Nope");
        }
        other => panic!("{other:?}"),
    }
    client.close();
    server.shutdown();
}
