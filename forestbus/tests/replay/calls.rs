//! Calls as the Go client and server made them, with both codecs.

use bowline_core::error::Status;
use bowline_core::frame::{Framing, Kind, Meta};
use bowline_forestbus::protocol::{Reply, Request};
use bowline_forestbus::wire::{Codec, METHODS, Method, refusal};
use bytes::Bytes;

use crate::record::{Call, Frame, Record, all, frames};

const FOLDERS: [&str; 2] = ["cbor", "cbor_2015"];

fn method_of(call: &Call) -> Option<Method> {
    call.request.as_ref().map(Request::method)
}

/// A frame of a method that is in the table, or by its name.
fn encode(record: &Record, kind: Kind, seq: u64, call: &Call, status: Status, body: &[u8]) -> Vec<u8> {
    let number = method_of(call).filter(|_| kind == Kind::Request).map_or(0, Method::number);
    let name = if number == 0 { call.method.as_bytes() } else { &[] };
    let meta = Meta { method: number, status: status.0, ..Meta::new(kind, seq) };
    let mut out = Vec::new();
    record.framing().encode(&mut out, &meta, name, body).unwrap();
    out
}

#[test]
fn requests_are_written_byte_by_byte_as_the_go_client_did() {
    let mut known = 0;
    for record in FOLDERS.into_iter().flat_map(all) {
        let (recorded, _) = frames(&record.request);
        let mut stream = Vec::new();
        for ((seq, call), recorded) in (0..).zip(record.calls()).zip(&recorded) {
            let mut body = Vec::new();
            match &call.request {
                Some(request) => {
                    known += 1;
                    record.codec(call.sent_empty).write_request(request, &mut body).unwrap();
                }
                // Of a method without values here only the header is.
                None => body.extend_from_slice(&recorded.body),
            }
            stream.extend(encode(&record, Kind::Request, seq, &call, Status(0), &body));
        }
        assert_eq!(stream, record.request, "{}", record.name);
    }
    assert!(known > 120, "only {known}");
}

#[test]
fn replies_are_read_as_what_the_go_client_decoded() {
    let (mut replies, mut errors) = (0, 0);
    for record in FOLDERS.into_iter().flat_map(all) {
        let calls = record.calls();
        let (answers, rest) = frames(&record.response);
        assert_eq!(rest, 0, "{}", record.name);
        let mut answered = vec![false; calls.len()];
        for Frame { meta, name, body, .. } in answers {
            let call = &calls[meta.id as usize];
            assert!(!core::mem::replace(&mut answered[meta.id as usize], true), "{}", record.name);
            // The link matches by Seq; the name is a number where it is known.
            assert_eq!((name.as_str(), meta.method), ("", method_of(call).map_or(0, Method::number)));
            match (&call.reply, method_of(call)) {
                (Some(Err(error)), _) => {
                    errors += 1;
                    assert_eq!(meta.kind, Kind::ErrorReply, "{}", record.name);
                    assert_eq!(body, error.as_bytes());
                    let is_refused = error.starts_with("rpc: ");
                    assert_eq!(meta.status == Status::NO_METHOD.0, is_refused, "{error}");
                }
                (Some(Ok(expected)), Some(method)) => {
                    replies += 1;
                    assert_eq!(meta.kind, Kind::Reply);
                    let reply = Codec::new().read_reply(method, &body).unwrap();
                    assert_eq!(&reply, expected, "{}", record.name);
                    check(&record.name, call.request.as_ref().unwrap(), &reply);
                    is_sliced(&reply, &body);
                }
                (None, None) => assert_eq!(meta.kind, Kind::Reply),
                other => panic!("{}: {:?}", record.name, other.0),
            }
        }
        for (call, answered) in calls.iter().zip(answered) {
            assert_eq!(answered, call.reply.is_some() || call.request.is_none(), "{}", record.name);
        }
    }
    assert!(replies > 100 && errors > 10, "only {replies} and {errors}");
}

/// The answers of real nodes match their requests.
fn check(name: &str, request: &Request, reply: &Reply) {
    match (request, reply) {
        (Request::Send(request), Reply::Sent(sent)) => {
            sent.check(request).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        (Request::Receive(request), Reply::Received(received)) => {
            received.check(request).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        (Request::TopicDetails { .. }, _) | (Request::ClusterDetails, _) => {}
        _ => panic!("{name}: a reply to something else"),
    }
}

fn is_sliced(reply: &Reply, body: &Bytes) {
    if let Reply::Received(received) = reply {
        for message in received.messages.iter().filter(|message| !message.is_empty()) {
            assert!(body.as_ptr_range().contains(&message.as_ptr()), "a copy");
        }
    }
}

#[test]
fn a_node_reads_what_clients_sent() {
    for record in FOLDERS.into_iter().flat_map(all) {
        let calls = record.calls();
        let (requests, rest) = frames(&record.request);
        assert_eq!((requests.len(), rest), (calls.len(), 0), "{}", record.name);
        for ((seq, Frame { meta, name, body, .. }), call) in (0..).zip(requests).zip(calls) {
            assert_eq!((meta.kind, meta.id, name), (Kind::Request, seq, call.method.clone()));
            assert_eq!(meta.method, method_of(&call).map_or(0, Method::number));
            if let Some(request) = &call.request {
                let read = Codec::new().read_request(request.method(), &body).unwrap();
                assert_eq!(&read, request, "{}", record.name);
            }
        }
    }
}

#[test]
fn a_node_answers_byte_by_byte_as_the_go_server_did() {
    for record in FOLDERS.into_iter().flat_map(all) {
        let calls = record.calls();
        for answer in frames(&record.response).0 {
            let seq = answer.meta.id;
            let call = &calls[seq as usize];
            let mut body = Vec::new();
            let (kind, status) = match &call.reply {
                // The text of a refusal is made of the name and the table.
                Some(Err(error)) if call.request.is_none() && error.starts_with("rpc: ") => {
                    assert_eq!(&refusal(&call.method, METHODS), error);
                    (Kind::ErrorReply, Status::NO_METHOD)
                }
                Some(Err(error)) => {
                    let codec = record.codec(call.reply_empty);
                    let failure = codec.write_reply(&Reply::Error(error.clone()), &mut body).unwrap_err();
                    body.extend_from_slice(&failure.body);
                    (Kind::ErrorReply, failure.status)
                }
                Some(Ok(reply)) => {
                    record.codec(call.reply_empty).write_reply(reply, &mut body).unwrap();
                    (Kind::Reply, Status(0))
                }
                None => {
                    body.extend_from_slice(&answer.body);
                    (Kind::Reply, Status(0))
                }
            };
            let written = encode(&record, kind, seq, call, status, &body);
            assert_eq!(written, answer.whole, "{}", record.name);
        }
    }
}
