//! A link and its reading half, driven by the test.

use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::error::{CallError, Disconnect, Failure, PeerError, Status};
use bowline_core::link::{CallId, CallOptions, Event, Inbound, Link, Reader, Reply, Role};
use bowline_core::machine::{Epoch, Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::time::Instant;
use bowline_forestbus::protocol::{self, Request};
use bowline_forestbus::wire::{CborRpc, Codec, Method, text_of};
use bytes::Bytes;

/// A request that a handler has.
pub(crate) struct Asked {
    pub(crate) inbound: Inbound,
    pub(crate) name: String,
    /// `None`: no method that is known.
    pub(crate) request: Option<Request>,
}

pub(crate) struct End {
    pub(crate) link: Link<CborRpc, u32>,
    reader: Option<Reader<CborRpc>>,
    buf: RecvBuf,
    pub(crate) codec: Codec,
    pub(crate) asked: Vec<Asked>,
    epoch: Epoch,
}

impl End {
    pub(crate) fn new(config: Config<CborRpc>, role: Role) -> Self {
        let mut end = Self {
            link: Link::new(config, role),
            reader: None,
            buf: RecvBuf::new(),
            codec: Codec::new(),
            asked: Vec::new(),
            epoch: Epoch::FIRST,
        };
        end.connect(Instant::ZERO);
        end
    }

    pub(crate) fn connect(&mut self, now: Instant) {
        self.buf = RecvBuf::new();
        self.reader = Some(self.link.handle_connected(now, self.epoch));
        self.epoch = self.epoch.next();
        self.pass(now, 0).unwrap();
    }

    pub(crate) fn disconnect(&mut self, now: Instant, cause: Disconnect) {
        self.link.retire_reader(now, self.reader.take().unwrap(), std::mem::take(&mut self.buf));
        self.link.handle_disconnected(now, None, cause);
    }

    /// Bytes that came, in one read or as many as it takes.
    pub(crate) fn input(&mut self, now: Instant, bytes: &[u8]) -> Result<(), PeerError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.buf.spare();
            let n = room.len().min(rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            self.buf.filled(n);
            rest = &rest[n..];
            self.pass(now, n)?;
        }
        Ok(())
    }

    /// Requests go to handlers that take their time; of a method that is not known, to none.
    fn pass(&mut self, now: Instant, n: usize) -> Result<(), PeerError> {
        let Self { link, reader, buf, codec, asked, .. } = self;
        let reader = reader.as_mut().unwrap();
        let mut access = &mut *link;
        Link::begin_input(reader, &mut access, now, n);
        while let Next::Event(event) = Link::next_event(reader, &mut access, now, buf)? {
            let Event::Request(incoming) = event else { continue };
            let name = text_of(incoming.extensions).into_owned();
            let request = match Method::from_number(incoming.method()) {
                None => None,
                Some(method) => {
                    let body = Bytes::copy_from_slice(incoming.body);
                    match codec.read_request(method, &body) {
                        Ok(request) => Some(request),
                        Err(error) => {
                            let failure = Failure::new(Status::FAILED, error.to_string());
                            reader.fail(incoming.id(), &failure).unwrap();
                            continue;
                        }
                    }
                }
            };
            match access.open_inbound(now, &incoming)? {
                Some(inbound) => asked.push(Asked { inbound, name, request }),
                None => panic!("{name}: no room"),
            }
        }
        Link::end_input(reader, &mut access, now, buf);
        Ok(())
    }

    /// All that it writes.
    pub(crate) fn output(&mut self, now: Instant) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(mut batch) = self.link.begin_write(now) {
            while !batch.is_done() {
                let mut slices = [&[][..]; 4];
                let n = batch.slices(&mut slices);
                let bytes = slices[..n].concat();
                batch.wrote(bytes.len());
                out.extend_from_slice(&bytes);
            }
            let _more = self.link.end_write(now, batch);
        }
        out
    }

    pub(crate) fn call(&mut self, now: Instant, request: &Request, options: CallOptions) -> CallId {
        let mut body = Vec::new();
        self.codec.write_request(request, &mut body).unwrap();
        self.link.call(now, &options, Payload::from(&body[..]), 0).unwrap()
    }

    pub(crate) fn poll(&mut self, call: CallId) -> Option<Result<Reply, CallError>> {
        self.link.poll_reply(call, || 0)
    }

    /// The reply to a call that has one, as a value.
    pub(crate) fn reply(&mut self, call: CallId, method: Method) -> protocol::Reply {
        match self.poll(call).expect("no reply") {
            Ok(reply) => {
                assert_eq!(reply.method, method.number());
                assert_eq!(reply.extensions, None);
                self.codec.read_reply(method, &reply.body.into_bytes()).unwrap()
            }
            Err(CallError::Failed(failure)) => Codec::read_failure(&failure),
            Err(error) => panic!("{error}"),
        }
    }

    /// Answers the oldest request of those that wait at that place.
    pub(crate) fn answer(&mut self, at: usize, reply: &protocol::Reply) {
        let asked = self.asked.remove(at);
        let mut body = Vec::new();
        let answer = match self.codec.write_reply(reply, &mut body) {
            Ok(()) => Ok(Payload::from(&body[..])),
            Err(failure) => Err(failure),
        };
        self.link.answer(asked.inbound, answer);
    }
}
