//! The callbacks of the owner of an exclusive connection.

use bowline_core::error::{CallError, Disconnect, Failure, Status};
use bowline_core::frame::Framing;
use bowline_core::link::{CallId, Event, Link};
use bowline_core::machine::Machine;
use bowline_core::time::Instant;

use super::Owned;
use crate::handler::{MessageRef, ReplyBuf, RequestRef};

/// Callbacks for everything that an exclusive connection receives.
///
/// Arguments borrow from the receive buffer, without a copy. The methods take `&mut self`: there is one
/// owner, so that the handler needs no locks or atomics.
pub trait Handler {
    /// A message, which is not answered.
    fn message(&mut self, message: MessageRef<'_>) {
        let _ = message;
    }

    /// A request. The answer is written directly into the bytes to send.
    ///
    /// # Errors
    /// The failure to answer with. The default implementation answers that there is no handler.
    fn request(&mut self, request: RequestRef<'_>, reply: &mut ReplyBuf<'_>) -> Result<(), Failure> {
        let _ = (request, reply);
        Err(Failure::new(Status::NO_HANDLER, "no handler for requests"))
    }

    /// The reply to a call of this side; the call is over.
    fn reply(&mut self, call: CallId, body: &[u8]) {
        let _ = (call, body);
    }

    /// A call of this side ended without a reply.
    fn failed(&mut self, call: CallId, error: CallError) {
        let _ = (call, error);
    }
}

/// Ignores everything: for owners that only send.
impl Handler for () {}

impl<F: Framing, S> Owned<F, S> {
    /// The connection is over: messages that were queued behind requests are still handed over.
    pub(super) fn hand_over_leftovers(
        &mut self,
        now: Instant,
        cause: &Disconnect,
        handler: &mut impl Handler,
    ) {
        let Self { link, reader, buf, .. } = self;
        while let Some(event) = Link::next_leftover(reader, &mut &mut *link, now, buf, cause) {
            if let Event::Message(message) = event {
                handler.message(message);
            }
        }
        Link::end_input(reader, &mut &mut *link, now, buf);
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use bowline_core::address::Address;
    use bowline_core::config::{Config, QueueLimit};
    use bowline_core::frame::native::Native;
    use bowline_core::link::{CallOptions, CastOptions, Role};
    use bowline_core::machine::Next;
    use bowline_core::recv_buf::RecvBuf;
    use bowline_core::supervisor::Epoch;
    use bowline_driver::runtime::Wire;
    use bowline_driver::soft_socket::SoftSocket;
    use bowline_driver::{clock, inproc};

    use super::*;

    #[derive(Default)]
    struct Heard {
        requests: usize,
        casts: Vec<Vec<u8>>,
    }

    impl Handler for Heard {
        fn message(&mut self, message: MessageRef<'_>) {
            self.casts.push(message.body.to_vec());
        }

        fn request(&mut self, _: RequestRef<'_>, reply: &mut ReplyBuf<'_>) -> Result<(), Failure> {
            self.requests += 1;
            reply.extend_from_slice(&[7; 4096]);
            Ok(())
        }
    }

    /// Writes all waiting bytes.
    fn write(link: &mut Link<Native, u64>, stream: &inproc::Stream) {
        while let Some(mut batch) = link.begin_write(clock::now()) {
            while !batch.is_done() {
                let mut slices = [&[][..]; 8];
                let filled = batch.slices(&mut slices);
                let slices = slices.map(IoSlice::new);
                let wrote = stream.write_now(&slices[..filled]).expect("room");
                batch.wrote(wrote);
            }
            let _more = link.end_write(clock::now(), batch);
        }
    }

    fn turn(owned: &mut Owned<Native, SoftSocket>, heard: &mut Heard) -> Result<bool, Disconnect> {
        owned.attend(heard)?;
        owned.read(heard, |socket, room| socket.read_now(room))
    }

    #[test]
    fn what_waited_behind_requests_is_handed_over_when_the_connection_ends() {
        let config = Config::builder().write_queue(QueueLimit { messages: 1, bytes: 4096 }).build().unwrap();
        let (ours, theirs) = inproc::pair(Address::Inproc("leftovers".into()));
        let (mut owned, mut heard) = (
            Owned::new(config, Role::Accepting, (SoftSocket::Memory(ours), RecvBuf::new())),
            Heard::default(),
        );
        let mut peer: Link<Native, u64> = Link::new(Config::default(), Role::Dialing);
        let (mut reader, mut buf) = (peer.handle_connected(clock::now(), Epoch::FIRST), RecvBuf::new());
        while !peer.is_ready() {
            write(&mut peer, &theirs);
            turn(&mut owned, &mut heard).expect("connected");
            let n = theirs.read_now(buf.spare()).unwrap_or(0);
            buf.filled(n);
            Link::begin_input(&mut reader, &mut &mut peer, clock::now(), n);
            while let Ok(Next::Event(_)) =
                Link::next_event(&mut reader, &mut &mut peer, clock::now(), &mut buf)
            {}
            Link::end_input(&mut reader, &mut &mut peer, clock::now(), &mut buf);
        }
        // The peer reads none of the answers.
        for id in 0..100 {
            peer.call(clock::now(), &CallOptions::new(1), b"x".as_slice().into(), id).expect("room");
        }
        let _queued =
            peer.cast(clock::now(), &CastOptions::new(1), b"behind".as_slice().into()).expect("room");
        write(&mut peer, &theirs);
        for _ in 0..200 {
            turn(&mut owned, &mut heard).expect("connected");
        }
        assert!((1..100).contains(&heard.requests), "{}", heard.requests);
        assert!(heard.casts.is_empty());
        let requests = heard.requests;
        theirs.shutdown();
        turn(&mut owned, &mut heard).expect_err("it is over");
        assert_eq!((heard.requests, heard.casts), (requests, vec![b"behind".to_vec()]));
        assert_eq!(owned.counters().messages_dropped, 0);
    }
}
