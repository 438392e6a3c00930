//! A link in place of the Go client, and one in place of the Go server: they write identical bytes.

use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::error::{Failure, Status};
use bowline_core::link::{CallOptions, Role};
use bowline_core::time::Instant;
use bowline_forestbus::protocol::{Reply, Request};

use crate::end::End;
use crate::record::{Call, Record, all, frames};

const NOW: Instant = Instant::ZERO;

fn end(record: &Record, role: Role) -> End {
    // The Go client numbers its calls from 0.
    let config = Config::with_framing(record.framing()).first_call_id(0).seed(1).build().unwrap();
    End::new(config, role)
}

/// How a call names its method: by number, or by name if it is none of the table's.
fn options(call: &Call) -> CallOptions {
    match &call.request {
        Some(request) => CallOptions::new(request.method().number()),
        None => CallOptions::new(0).extensions(call.method.clone().into_bytes()),
    }
}

#[test]
fn a_client_writes_what_the_go_client_wrote_and_understands_the_answers() {
    for record in ["cbor", "cbor_2015"].into_iter().flat_map(all) {
        let mut client = end(&record, Role::Dialing);
        let bodies = frames(&record.request).0;
        let mut made = Vec::new();
        for (call, recorded) in record.calls().into_iter().zip(bodies) {
            let id = match &call.request {
                Some(request) => {
                    client.codec = record.codec(call.sent_empty);
                    client.call(NOW, request, options(&call))
                }
                None => client.link.call(NOW, &options(&call), Payload::from(&recorded.body[..]), 0).unwrap(),
            };
            made.push((id, call));
        }
        assert_eq!(client.output(NOW), record.request, "{}", record.name);
        client.input(NOW, &record.response).unwrap();
        for (id, call) in made {
            let method = call.request.as_ref().map(Request::method);
            match (method, call.reply) {
                (Some(method), Some(Ok(expected))) => assert_eq!(client.reply(id, method), expected),
                (_, Some(Err(error))) => {
                    let failed = client.poll(id).unwrap().unwrap_err();
                    let bowline_core::error::CallError::Failed(failure) = failed else { panic!("{failed}") };
                    assert_eq!(failure.body, error.as_bytes(), "{}", record.name);
                }
                (None, None) => assert!(client.poll(id).unwrap().is_ok(), "{}", record.name),
                (Some(_), None) => assert!(client.poll(id).is_none(), "the connection ended without it"),
                (None, Some(Ok(_))) => unreachable!(),
            }
        }
    }
}

#[test]
fn a_node_writes_what_the_go_server_wrote() {
    for record in ["cbor", "cbor_2015"].into_iter().flat_map(all) {
        let mut node = end(&record, Role::Accepting);
        node.input(NOW, &record.request).unwrap();
        let calls = record.calls();
        let names: Vec<&str> = node.asked.iter().map(|asked| asked.name.as_str()).collect();
        assert_eq!(names, calls.iter().map(|call| call.method.as_str()).collect::<Vec<_>>());
        let mut written = Vec::new();
        // In the order of the answers, which is not that of the requests.
        for recorded in frames(&record.response).0 {
            let at = node.asked.iter().position(|asked| asked.inbound.wire_id() == recorded.meta.id).unwrap();
            let call = &calls[recorded.meta.id as usize];
            assert_eq!(node.asked[at].request, call.request);
            node.codec = record.codec(call.reply_empty);
            match &call.reply {
                Some(Ok(reply)) => node.answer(at, reply),
                // Words for it are made on the way out.
                Some(Err(error)) if call.request.is_none() && error.starts_with("rpc: ") => {
                    let refused = Failure::new(Status::NO_METHOD, "");
                    node.link.answer(node.asked.remove(at).inbound, Err(refused));
                }
                Some(Err(error)) => node.answer(at, &Reply::Error(error.clone())),
                None => {
                    let asked = node.asked.remove(at);
                    node.link.answer(asked.inbound, Ok(Payload::from(&recorded.body[..])));
                }
            }
            written.extend(node.output(NOW));
        }
        assert_eq!(written, record.response, "{}", record.name);
    }
}
