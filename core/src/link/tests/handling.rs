//! Messages that a handler takes, and messages that wait until the application has been told of the peer.

use super::*;
use crate::frame::Class;
use crate::waiters::Ticket;

fn cast(link: &mut Link<impl Framing, u32>, body: &[u8]) {
    let _queued = link.cast(Instant::ZERO, &CastOptions::default(), body.into()).unwrap();
}

#[test]
fn a_message_counts_until_its_handler_is_done_with_it() {
    let mut pair = native();
    pair.b.queue = true;
    pair.b.link.handle_messages();
    for body in [[1; 100], [2; 100]] {
        cast(&mut pair.a.link, &body);
    }
    pair.run(Instant::ZERO);
    let link = &mut pair.b.link;
    let (kept, held) = (link.kept(Class::Normal), link.holding().bytes);
    let mut ticket = None;
    assert_eq!(taken(link, &mut ticket).unwrap()[..], [1; 100]);
    assert_eq!((link.kept(Class::Normal), link.unhandled()), (kept, 2));
    assert_eq!((link.messages_taken(), link.messages_kept()), (1, 2));
    assert!(link.holding().bytes + 200 > held, "the body is held");
    assert_eq!(taken(link, &mut ticket).unwrap()[..], [2; 100]);
    assert_eq!((link.kept(Class::Normal), link.unhandled()), (kept / 2, 1));
    assert_eq!(taken(link, &mut ticket), None);
    assert_eq!((link.kept(Class::Normal), link.unhandled()), (0, 0));
    // The next one wakes it.
    cast(&mut pair.a.link, b"more");
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.tokens(), [7]);
}

#[test]
fn closing_waits_for_the_handler() {
    // With a framing without go-away; native peers end the connection themselves.
    let mut pair = Pair::new(&Config::with_framing(Tcpstream::new()).build().unwrap());
    pair.b.queue = true;
    pair.b.link.handle_messages();
    cast(&mut pair.a.link, b"one");
    pair.run(Instant::ZERO);
    let mut ticket = None;
    assert!(taken(&mut pair.b.link, &mut ticket).is_some());
    pair.b.link.close(Instant::ZERO, MS * 1_000);
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.link.poll_ending(Instant::ZERO), None, "it is being handled");
    let _ = pair.b.link.take_wake();
    pair.b.link.end_handling();
    assert!(pair.b.link.take_wake().attend);
    assert!(matches!(pair.b.link.poll_ending(Instant::ZERO), Some(Ending::Graceful { .. })));
}

#[test]
fn what_is_dropped_is_counted_and_told() {
    let mut pair = native();
    pair.b.queue = true;
    pair.b.link.handle_messages();
    for _ in 0..3 {
        cast(&mut pair.a.link, b"one");
    }
    pair.run(Instant::ZERO);
    let link = &mut pair.b.link;
    link.drop_received();
    assert_eq!((link.unhandled(), link.counters().messages_dropped, link.kept(Class::Normal)), (0, 3, 0));
    assert_eq!(link.messages_taken(), 3);
}

/// Requests (and messages) wait; replies, and messages that are permitted, are delivered.
fn is_held<F: Framing>(config: &Config<F>, messages: bool) {
    let mut pair = Pair::new(config);
    let has_flow = pair.b.link.profile().flow_control;
    let End { link, reader, .. } = &mut pair.b;
    reader.hold(&mut &mut *link, messages);
    let back = pair.b.link.call(Instant::ZERO, &CallOptions::new(1), b"back"[..].into(), 1).unwrap();
    pair.run(Instant::ZERO);
    assert!(pair.b.link.poll_reply(back, || 1).is_some(), "replies come in");
    cast(&mut pair.a.link, b"a message");
    let call = pair.a.link.call(Instant::ZERO, &CallOptions::new(1), b"a request"[..].into(), 1).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.events.len(), usize::from(!messages), "{:?}", pair.b.events);
    assert_eq!(pair.b.link.is_paused(), !has_flow);
    assert!(pair.a.link.poll_reply(call, || 1).is_none());
    assert!(!pair.b.link.wants_pass());
    let _ = pair.b.link.take_wake();
    pair.b.link.release_held(messages);
    assert!(pair.b.link.wants_pass() && pair.b.link.take_wake().attend && !pair.b.link.is_paused());
    pair.b.pass(Instant::ZERO, 0).unwrap();
    assert!(!pair.b.link.wants_pass());
    let came: Vec<_> = pair.b.events.iter().map(|(is_request, ..)| *is_request).collect();
    assert_eq!(came, [false, true]);
    pair.run(Instant::ZERO);
    assert!(pair.a.link.poll_reply(call, || 1).is_some());
}

#[test]
fn what_comes_in_waits_until_the_application_knows_its_peer() {
    for messages in [false, true] {
        is_held(&Config::default(), messages);
        is_held(&Config::with_framing(Tcpstream::new()).build().unwrap(), messages);
    }
}

#[test]
fn each_connection_that_is_told_of_releases_its_own() {
    let mut pair = native();
    let End { link, reader, .. } = &mut pair.b;
    reader.hold(&mut &mut *link, true);
    reader.hold(&mut &mut *link, true);
    pair.b.link.release_held(true);
    cast(&mut pair.a.link, b"a message");
    pair.run(Instant::ZERO);
    assert!(pair.b.events.is_empty());
    pair.b.link.release_held(true);
    pair.b.pass(Instant::ZERO, 0).unwrap();
    assert_eq!(pair.b.events.len(), 1);
}

/// Received extensions count as memory like bodies, wherever they wait.
#[test]
fn extensions_count_as_memory() {
    let mut pair = native();
    (pair.b.queue, pair.b.handle) = (true, true);
    let mut extensions = crate::frame::native::Extensions::new();
    extensions.push(200, &[7; 30_000]).unwrap();
    let extensions = extensions.into_bytes();
    let held = |link: &Link<Native, u32>| link.holding().bytes - link.conn.reading.buffered();
    let before = held(&pair.b.link);
    let options = CastOptions::new(0).extensions(extensions.clone());
    let _queued = pair.a.link.cast(Instant::ZERO, &options, b"".as_slice().into()).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.link.stats(Instant::ZERO).read_queue.bytes, extensions.len());
    let with_message = held(&pair.b.link);
    assert!(with_message >= before + 30_000, "{before}, {with_message}");
    let options = CallOptions::new(0).extensions(extensions);
    pair.a.link.call(Instant::ZERO, &options, b"".as_slice().into(), 1).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.handled.len(), 1);
    let with_request = held(&pair.b.link);
    assert!(with_request >= with_message + 30_000, "{with_message}, {with_request}");
    pair.b.link.finish_inbound(pair.b.handled[0]);
    pair.b.link.drop_received();
    assert!(held(&pair.b.link) < before + 1_024);
}

/// The requests and messages that a peer sent before its go-away are answered and delivered.
#[test]
fn what_waits_for_the_application_is_dealt_with_before_the_peer_goes() {
    let mut pair = native();
    let End { link, reader, .. } = &mut pair.b;
    reader.hold(&mut &mut *link, true);
    cast(&mut pair.a.link, b"a message");
    let id = call(&mut pair.a, b"a request", 1).unwrap();
    pair.run(Instant::ZERO);
    pair.a.link.close(Instant::ZERO, MS * 1_000);
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.link.poll_ending(Instant::ZERO), None, "both wait");
    pair.b.link.release_held(true);
    pair.b.pass(Instant::ZERO, 0).unwrap();
    assert_eq!(pair.b.events.len(), 2);
    pair.run(Instant::ZERO);
    assert!(pair.a.link.poll_reply(id, || 1).is_some_and(|reply| reply.is_ok()));
    let ending = pair.b.link.poll_ending(Instant::ZERO);
    assert!(matches!(ending, Some(Ending::Graceful { .. })), "{ending:?}");
}

/// The next message, for a handler.
fn taken<F: Framing>(link: &mut Link<F, u32>, ticket: &mut Option<Ticket>) -> Option<Message> {
    let mut message = Message::empty();
    link.take_to_handle(&mut message, ticket, || 7).then_some(message)
}

/// A native server that took a long read before, so that its receive buffer is a whole block, and what its
/// link got of `bodies`, which come in one read. `end` happens before they are received, `first` of them before that.
fn received_from_a_block(
    bodies: &[&[u8]],
    first: usize,
    end: impl Fn(&mut Link<Native, u32>),
) -> Vec<Message> {
    let mut pair = native();
    pair.b.queue = true;
    pair.b.link.handle_messages();
    for _ in 0..200 {
        cast(&mut pair.a.link, &[1; 1_000]);
    }
    pair.run(Instant::ZERO);
    pair.b.link.drop_received();
    pair.run(Instant::ZERO);
    bodies.iter().for_each(|body| cast(&mut pair.a.link, body));
    let out = pair.a.output(Instant::ZERO);
    pair.b.input(Instant::ZERO, &out).unwrap();
    let (mut before, mut taken) = (Vec::new(), Vec::new());
    pair.b.link.take_received(first, &mut before);
    end(&mut pair.b.link);
    pair.b.link.take_received(usize::MAX, &mut taken);
    for (message, body) in before.iter().chain(&taken).zip(bodies) {
        assert_eq!(message[..], **body);
    }
    assert_eq!(before.len() + taken.len(), bodies.len());
    taken
}

/// The receive buffer goes with its connection. The blocks that messages hold are counted with it.
#[test]
fn messages_that_wait_hold_no_block_of_a_connection_that_is_over() {
    let disconnect = |link: &mut Link<Native, u32>| {
        link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    };
    let nothing = |_: &mut Link<Native, u32>| {};
    let longest = |taken: &[Message]| {
        let blocks = taken.iter().filter_map(|message| message.body.block());
        blocks.map(|block| block.len()).max().unwrap_or(0)
    };
    // One by one.
    let few: [&[u8]; 6] = [&[2; 200], &[3; 5_000], &[4; 5_000], &[5; 5_000], &[6; 5_000], &[7; 5_000]];
    assert!(longest(&received_from_a_block(&few, 0, nothing)) > 60_000, "they share a block");
    assert_eq!(longest(&received_from_a_block(&few, 0, disconnect)), 0);
    // Of a run that most was taken of.
    let run: Vec<&[u8]> = (0..150).map(|_| &[8; 300][..]).collect();
    assert!(longest(&received_from_a_block(&run, 140, nothing)) > 40_000, "they share a block");
    assert!(longest(&received_from_a_block(&run, 140, disconnect)) < 10_000);
}
