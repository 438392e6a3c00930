//! The exchange of credentials, with a peer that sends any bytes before and after it is accepted.

use bowline_core::auth::{Challenge, Credentials, Identity, MAX_CREDENTIALS, Refusal, RefusalCode};
use bowline_core::config::{Config, Delivery};
use bowline_core::error::PeerError;
use bowline_core::frame::native::{AUTHENTICATION, Hello, Native, Resume, SESSION};
use bowline_core::frame::{Class, Framing, Kind, Meta};
use bowline_core::link::{Event, Link, Reader, Role, SessionIdentity, State};
use bowline_core::machine::{Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::time::Instant;

use crate::Input;

const NOW: Instant = Instant::ZERO;

/// One end, and its events.
struct Wary {
    link: Link<Native, u32>,
    reader: Reader<Native>,
    buf: RecvBuf,
    /// The peer was accepted on this connection.
    is_let_in: bool,
    /// The messages about credentials, of both sides in turn.
    grants: bool,
    asked: usize,
}

impl Wary {
    fn new(config: &Config, role: Role) -> Self {
        let mut link = Link::new(config.clone(), role);
        if role == Role::Accepting {
            link.offer_session(SessionIdentity { id: 5, token: [5; 16] });
            link.challenge(*b"a challenge");
        }
        let reader = link.handle_connected(NOW, bowline_core::supervisor::Epoch::FIRST);
        Self { link, reader, buf: RecvBuf::new(), is_let_in: false, grants: false, asked: 0 }
    }

    /// Passes in that many bytes, `piece` at a time.
    fn input(&mut self, bytes: &[u8], piece: usize) -> Result<(), PeerError> {
        for part in bytes.chunks(piece.max(1)) {
            let mut rest = part;
            while !rest.is_empty() {
                let room = self.buf.spare();
                let n = room.len().min(rest.len());
                room[..n].copy_from_slice(&rest[..n]);
                self.buf.filled(n);
                rest = &rest[n..];
                self.pass(n)?;
            }
        }
        Ok(())
    }

    fn pass(&mut self, n: usize) -> Result<(), PeerError> {
        let Self { link, reader, buf, is_let_in, grants, asked } = self;
        let mut access = &mut *link;
        Link::begin_input(reader, &mut access, NOW, n);
        while let Next::Event(event) = Link::next_event(reader, &mut access, NOW, buf)? {
            match event {
                Event::Credentials(shown) => {
                    assert!(shown.credentials().as_bytes().len() <= MAX_CREDENTIALS);
                    assert_eq!(shown.challenge().bytes(), b"a challenge");
                    *asked += 1;
                    assert_eq!(*asked, 1, "once for each connection");
                    let decision = match *grants {
                        true => Ok(Identity::new("anybody").into()),
                        false => Err(Refusal::new(RefusalCode::WRONG).text("no")),
                    };
                    *is_let_in = access.decide(NOW, access.epoch(), decision);
                }
                Event::Challenge(challenge) => {
                    *is_let_in = true;
                    access.answer_challenge(NOW, &challenge);
                }
                Event::Ready | Event::Resumed => assert!(*is_let_in, "nobody was let in"),
                Event::Message(_) | Event::Burst(_) | Event::Request(_) | Event::Reply(_) => {
                    assert!(*is_let_in, "handed over before the peer was let in");
                }
                _ => {}
            }
        }
        Link::end_input(reader, &mut access, NOW, buf);
        Ok(())
    }

    /// Discards its output.
    fn drain(&mut self) {
        while let Some(mut batch) = self.link.begin_write(NOW) {
            while !batch.is_done() {
                let mut slices = [&[][..]; 4];
                let n = batch.slices(&mut slices);
                let bytes: usize = slices[..n].iter().map(|slice| slice.len()).sum();
                batch.wrote(bytes);
            }
            let _more = self.link.end_write(NOW, batch);
        }
    }
}

fn frame(kind: Kind, class: Class, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let meta = Meta { class, method: u32::from(kind == Kind::Cast), ..Meta::new(kind, 0) };
    if Native::new().encode(&mut out, &meta, &[], body).is_err() {
        out.clear();
    }
    out
}

/// A peer sends hello, and then frames chosen by the input, to an end that authenticates it or to one that is
/// authenticated: nothing is delivered, and the connection is not ready, before the peer is accepted; the end
/// continues or reports an error.
pub fn credentials(data: &[u8]) {
    let mut input = Input(data);
    let (flags, piece) = (input.byte(), usize::from(input.byte()));
    let role = if flags & 1 == 0 { Role::Accepting } else { Role::Dialing };
    let in_session = flags & 2 != 0;
    let delivery = if in_session { Delivery::Session } else { Delivery::AtMostOnce };
    let source = |challenge: &Challenge| Credentials::new(challenge.bytes());
    let Ok(config) = Config::builder().delivery(delivery).credentials(source).build() else { return };
    let mut wary = Wary::new(&config, role);
    wary.grants = flags & 4 != 0;
    let mut hello = Hello::new();
    hello.features = AUTHENTICATION | if in_session { SESSION } else { 0 };
    hello.required = if flags & 8 != 0 { AUTHENTICATION } else { 0 };
    let mut body = Vec::new();
    hello.encode(&mut body);
    let mut all = frame(Kind::Hello, Class::Control, &body);
    while !input.is_empty() {
        let (op, len) = (input.byte(), usize::from(input.byte()));
        let fill = vec![op; if op & 64 == 0 { len % 32 } else { len * 20 }];
        all.extend(match op % 12 {
            0..=2 => frame(Kind::Credentials, Class::Control, &fill),
            3 => frame(Kind::Challenge, Class::Control, &fill),
            4 => frame(Kind::Accepted, Class::Control, &[&[0xff; 4][..], &fill].concat()),
            5 => frame(Kind::Refused, Class::Control, &Refusal::new(RefusalCode(len as u16)).to_bytes()),
            6 | 7 => frame(Kind::Cast, Class::Normal, &fill),
            8 => frame(Kind::Ping, Class::Control, b""),
            9 => frame(Kind::Resume, Class::Control, &Resume::new(len as u64 % 7, [5; 16], 0).to_bytes()),
            10 => frame(Kind::Hello, Class::Control, &body),
            // Unmodified bytes of the input.
            _ => (0..len % 48).map(|_| input.byte()).collect(),
        });
    }
    let error = wary.input(&all, if piece == 0 { all.len() } else { piece }).err();
    wary.drain();
    if !wary.is_let_in {
        assert_ne!(wary.link.state(), State::Ready);
        assert!(role == Role::Dialing || wary.link.identity().is_none());
    }
    if error.is_none() && wary.asked == 1 && !wary.is_let_in {
        assert!(wary.link.poll_ending(NOW).is_some(), "who is refused goes");
    }
}
