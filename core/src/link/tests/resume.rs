//! Resumes that a conforming peer would not send.

use super::*;
use crate::Batch;
use crate::error::Disconnect;
use crate::frame::native::{AUTHENTICATION, Resume};
use crate::frame::{Framing, Kind, Step};

pub(super) const ID: u64 = 5;
pub(super) const TOKEN: [u8; 16] = [7; 16];
/// Frames that each side sent before the connection ended; of these the other acknowledged `ACKED`.
const SENT: u64 = 4;
const ACKED: u64 = 2;

fn config() -> Config<Native> {
    Config::builder().delivery(Delivery::Session).build().unwrap()
}

fn cast(end: &mut End<Native>, i: u8) {
    let _ = end.link.cast(Instant::ZERO, &CastOptions::new(1), (&[i; 8]).into()).unwrap();
}

/// Both ends of a session without a connection. Each sent four casts: two that were received and
/// acknowledged, and two that were lost in transit.
fn detached() -> Pair<Native> {
    let mut pair = in_session();
    for i in 0..ACKED as u8 {
        cast(&mut pair.a, i);
        cast(&mut pair.b, i);
    }
    pair.run(Instant::ZERO);
    let later = Instant::ZERO + MS * 100;
    for end in [&mut pair.a, &mut pair.b] {
        end.link.handle_timeout(later);
    }
    pair.run(later);
    for end in [&mut pair.a, &mut pair.b] {
        for i in ACKED as u8..SENT as u8 {
            cast(end, i);
        }
        assert_eq!(end.output(later).len(), 2 * (12 + 8), "two casts, lost on the way");
        assert_eq!(end.link.unacknowledged(), SENT - ACKED);
        end.link.handle_disconnected(later, None, Disconnect::PeerClosed);
    }
    assert!(pair.a.link.is_detached() && pair.b.link.is_detached());
    pair
}

/// Who reads the first frames of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Readers {
    /// The link's reader.
    Link,
    /// A server that looks for the session, as it does before a link gets the connection.
    Server,
}

/// The reaction of `end` to a new connection whose peer sends `resume` after a valid hello.
fn resumes(end: &mut End<Native>, resume: &Resume) -> Result<Vec<u8>, PeerError> {
    resumes_at(Readers::Link, end, resume)
}

fn resumes_at(readers: Readers, end: &mut End<Native>, resume: &Resume) -> Result<Vec<u8>, PeerError> {
    hears_at(readers, end, resume)?;
    Ok(end.output(Instant::ZERO))
}

/// The same, before `end` has sent anything.
fn hears(end: &mut End<Native>, resume: &Resume) -> Result<(), PeerError> {
    hears_at(Readers::Link, end, resume)
}

fn hears_at(readers: Readers, end: &mut End<Native>, resume: &Resume) -> Result<(), PeerError> {
    let epoch = end.link.epoch().next();
    end.reader = end.link.handle_connected(Instant::ZERO, epoch);
    (end.buf, end.events) = (RecvBuf::new(), Vec::new());
    end.pass(Instant::ZERO, 0).unwrap();
    // An unrelated dialing end sends hello and requests a new session: the resume is at the end.
    let mut stranger = End::new(&config(), Role::Dialing);
    let mut said = stranger.output(Instant::ZERO);
    // No authentication, whichever end the stranger plays.
    said[39] &= !(AUTHENTICATION as u8);
    let at = said.len() - resume.to_bytes().len();
    said[at..].copy_from_slice(&resume.to_bytes());
    let heard = match readers {
        Readers::Link => end.input(Instant::ZERO, &said),
        Readers::Server => {
            let mut greeting = Greeting::new(Native::new());
            end.buf.spare()[..said.len()].copy_from_slice(&said);
            end.buf.filled(said.len());
            assert!(greeting.read(&mut end.buf) && end.buf.unread().is_empty());
            let held = SessionIdentity { id: ID, token: TOKEN };
            if greeting.session() == Some(ID) {
                assert_eq!(greeting.is_for(&held), resume.token == TOKEN);
            }
            end.link.greeted(Instant::ZERO, greeting);
            end.pass(Instant::ZERO, 0)
        }
    };
    if let Err(error) = heard {
        end.link.handle_disconnected(Instant::ZERO, None, Disconnect::Protocol(error.clone()));
        return Err(error);
    }
    Ok(())
}

/// The resume and the bodies of the casts in an end's output.
fn read(out: &[u8]) -> (Resume, Vec<u8>) {
    let (mut framing, mut at) = (Native::new(), 0);
    let (mut resume, mut casts) = (None, Vec::new());
    while at < out.len() {
        let Step::Frame { meta, body, consumed, .. } = framing.next_frame(&out[at..]).unwrap() else {
            panic!("half a frame")
        };
        match meta.kind {
            Kind::Resume => resume = Some(Resume::decode(&out[at..][body]).unwrap()),
            Kind::Cast => casts.push(out[at..][body][0]),
            _ => {}
        }
        at += consumed;
    }
    (resume.expect("a resume"), casts)
}

fn wrong_tokens() -> Vec<[u8; 16]> {
    let mut tokens = alloc::vec![[0; 16], [0xff; 16]];
    for at in 0..16 {
        let mut token = TOKEN;
        token[at] ^= 1;
        tokens.push(token);
    }
    tokens
}

const WRONG_IDS: [u64; 5] = [0, 1, ID - 1, ID | 1 << 63, u64::MAX];
const WRONG_COUNTS: [u64; 4] = [0, ACKED - 1, SENT + 1, u64::MAX];

/// Every combination of id, token and count in which something is wrong.
fn hostile() -> Vec<Resume> {
    let ids = WRONG_IDS.into_iter().chain([ID]);
    let tokens = || wrong_tokens().into_iter().chain([TOKEN]);
    let counts = || WRONG_COUNTS.into_iter().chain(ACKED..=SENT);
    let all = ids.flat_map(|id| tokens().map(move |token| (id, token)));
    let all = all.flat_map(|(id, token)| counts().map(move |count| Resume::new(id, token, count)));
    all.filter(|r| r.session != ID || r.token != TOKEN || WRONG_COUNTS.contains(&r.received)).collect()
}

#[test]
fn an_accepting_end_gives_a_session_to_nobody_who_cannot_name_it() {
    [Readers::Link, Readers::Server].into_iter().for_each(session_is_given_to_nobody_else);
}

fn session_is_given_to_nobody_else(readers: Readers) {
    let mut end = detached().b;
    for resume in hostile() {
        let knows = resume.session == ID && resume.token == TOKEN;
        let (field, value, limit) =
            if knows { ("received", resume.received, SENT) } else { ("session", resume.session, 0) };
        assert_eq!(
            resumes_at(readers, &mut end, &resume),
            Err(PeerError::Resume { field, value, limit }),
            "{resume:?} {:?}",
            resume.token
        );
        assert!(end.link.is_detached(), "and it goes on waiting for its own");
        assert_eq!(end.link.unacknowledged(), SENT - ACKED);
    }
    // Its own peer finds it unchanged.
    for received in (ACKED..=SENT).rev() {
        let mut end = detached().b;
        let resume = Resume::new(ID, TOKEN, received);
        let (said, casts) = read(&resumes_at(readers, &mut end, &resume).unwrap());
        assert_eq!(
            (said, &casts[..]),
            (Resume::new(ID, TOKEN, ACKED), &[2, 3][(received - ACKED) as usize..])
        );
    }
    let resume = Resume::new(ID, TOKEN, ACKED);
    let (said, casts) = read(&resumes_at(readers, &mut end, &resume).unwrap());
    assert_eq!((said, casts), (Resume::new(ID, TOKEN, ACKED), [2, 3].to_vec()));
    let mut events = core::iter::from_fn(|| end.link.poll_event(&mut None, || 0));
    assert!(!events.any(|event| matches!(event, LinkEvent::SessionLost { .. })));
}

#[test]
fn with_a_new_session_on_offer_a_stranger_gets_that_one_and_nothing_of_the_old() {
    let strangers = || hostile().into_iter().filter(|r| r.session != ID || r.token != TOKEN);
    let by_link = strangers().map(|resume| (Readers::Link, resume));
    for (readers, resume) in by_link.chain(strangers().map(|resume| (Readers::Server, resume))) {
        let mut end = detached().b;
        let offer = SessionIdentity { id: 6, token: [8; 16] };
        end.link.offer_session(offer);
        let (said, casts) = read(&resumes_at(readers, &mut end, &resume).unwrap());
        assert_eq!((said, casts), (Resume::new(6, [8; 16], 0), Vec::new()), "{resume:?} {:?}", resume.token);
        assert_eq!(end.link.session(), Some(offer));
        let back: Vec<_> = core::iter::from_fn(|| end.link.poll_errored(&mut None, || 0)).collect();
        assert_eq!(
            back.iter().map(|u| (u.body[0], u.outcome)).collect::<Vec<_>>(),
            [(2, Outcome::MaybeDelivered), (3, Outcome::MaybeDelivered)]
        );
    }
}

#[test]
fn a_dialing_end_sends_nothing_of_a_session_to_a_peer_that_cannot_name_it() {
    for resume in hostile() {
        let mut end = detached().a;
        let heard = resumes(&mut end, &resume);
        if resume.session == ID && resume.token == TOKEN {
            let (value, limit) = (resume.received, SENT);
            assert_eq!(heard, Err(PeerError::Resume { field: "received", value, limit }));
            assert_eq!(end.link.session(), None, "the server broke the protocol");
        } else if resume.session == 0 {
            assert_eq!(heard, Err(PeerError::Resume { field: "session", value: 0, limit: 0 }));
        } else {
            let (_, casts) = read(&heard.unwrap());
            assert!(casts.is_empty(), "{resume:?} {:?}", resume.token);
            let identity = SessionIdentity { id: resume.session, token: resume.token };
            assert_eq!(end.link.session(), Some(identity), "the server has a new one");
        }
        let back: Vec<_> = core::iter::from_fn(|| end.link.poll_errored(&mut None, || 0)).collect();
        let back: Vec<_> = back.iter().map(|u| (u.body[0], u.outcome)).collect();
        assert_eq!(back, [(2, Outcome::MaybeDelivered), (3, Outcome::MaybeDelivered)], "{resume:?}");
    }
}

/// A long message of several fragments is sent, the connection ends while any one of its batches is being
/// written, and the session is lost: the returned message is whole, whichever frames the peer had by then and
/// whenever the writer gives its batch back.
#[test]
fn a_long_message_whose_batch_comes_back_late_is_handed_back_whole() {
    let bodies: Vec<Vec<u8>> = [8, 40_000, 8, 50_000, 8].map(|len| alloc::vec![len as u8; len]).into();
    let mut batches = 0;
    // `again`: the batch is given back in time, and that many batches later another one is late, possibly on
    // its second write.
    let mut run = |written: usize, acked: u64, before: bool, again: Option<usize>| {
        let mut end = detached().b;
        resumes(&mut end, &Resume::new(ID, TOKEN, SENT - 1)).unwrap();
        let numbers: Vec<u64> = bodies
            .iter()
            .map(|body| {
                end.link.cast(Instant::ZERO, &CastOptions::new(1), body.as_slice().into()).unwrap().number
            })
            .collect();
        for _ in 0..written {
            let mut batch = end.link.begin_write(Instant::ZERO)?;
            batches = batches.max(written + 1);
            batch.wrote(batch.len());
            let _more = end.link.end_write(Instant::ZERO, batch);
        }
        let late = end.link.begin_write(Instant::ZERO)?;
        end.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
        let mut late = Some(late);
        let give_back = |end: &mut End<Native>, late: &mut Option<Batch>| {
            if let Some(batch) = late.take() {
                let _more = end.link.end_write(Instant::ZERO, batch);
            }
        };
        if before || again.is_some() {
            give_back(&mut end, &mut late);
        }
        // The peer cannot have received more than was sent: there are no further counts to try.
        if let Some(batches) = again {
            hears(&mut end, &Resume::new(ID, TOKEN, acked)).ok()?;
            for _ in 0..batches {
                let mut batch = end.link.begin_write(Instant::ZERO)?;
                batch.wrote(batch.len());
                let _more = end.link.end_write(Instant::ZERO, batch);
            }
            late = Some(end.link.begin_write(Instant::ZERO)?);
        } else {
            resumes(&mut end, &Resume::new(ID, TOKEN, acked)).ok()?;
        }
        end.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
        if again.is_none() {
            give_back(&mut end, &mut late);
        }
        end.link.close(Instant::ZERO, Duration::ZERO);
        end.link.handle_timeout(Instant::ZERO);
        give_back(&mut end, &mut late);
        let mut back: Vec<_> = core::iter::from_fn(|| end.link.poll_errored(&mut None, || 0)).collect();
        back.extend(end.link.take_undelivered());
        back.sort_by_key(|back| back.number);
        for back in &back {
            let Some(at) = numbers.iter().position(|&number| number == back.number) else { continue };
            let given = &bodies[at];
            assert!(
                back.method == 1 && back.body[..] == given[..],
                "{written} batches, {acked} acked: {} bytes of {}",
                back.body.len(),
                given.len()
            );
        }
        let ours = back.iter().filter(|back| numbers.contains(&back.number)).count();
        if acked <= SENT {
            assert_eq!(ours, bodies.len(), "{written} batches, {acked} acked, {before}, {again:?}");
        }
        Some(ours)
    };
    for before in [true, false] {
        for written in 0.. {
            if run(written, SENT, before, None).is_none() {
                break;
            }
            let mut last = bodies.len();
            for acked in SENT.. {
                let Some(ours) = run(written, acked, before, None) else { break };
                assert!(ours <= last, "what was acknowledged does not come back");
                last = ours;
                (0..)
                    .take_while(|&batches| run(written, acked, true, Some(batches)).is_some())
                    .for_each(drop);
            }
        }
    }
    assert!(batches > 4, "{batches}");
}

/// A link whose memory is counted reports at once that its session lost its connection, with the held bytes,
/// and that it has a connection again, or is over.
#[test]
fn a_counted_link_says_when_its_session_waits() {
    let mut end = detached().b;
    end.link.count_memory();
    assert_eq!(end.link.take_holding().map(|held| held.is_detached), None);
    resumes(&mut end, &Resume::new(ID, TOKEN, SENT)).unwrap();
    assert_eq!(end.link.take_holding(), None, "connected, and it holds little");
    for _ in 0..2 {
        end.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
        assert!(end.link.has_wakes());
        assert_eq!(end.link.take_holding().map(|held| held.is_detached), Some(true));
        assert_eq!(end.link.take_holding(), None, "once");
        // Any message that is queued from now on makes the report outdated.
        let _ = end.link.cast(Instant::ZERO, &CastOptions::new(1), (&[1; 100_000]).into()).unwrap();
        assert!(end.link.has_wakes());
        assert_eq!(end.link.take_holding().map(|held| held.is_detached), Some(true));
        resumes(&mut end, &Resume::new(ID, TOKEN, SENT)).unwrap();
        assert_eq!(end.link.take_holding().map(|held| held.is_detached), Some(false));
    }
    end.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    assert_eq!(end.link.take_holding().map(|held| held.is_detached), Some(true));
    end.link.expire_session(Instant::ZERO);
    assert_eq!(end.link.take_holding().map(|held| held.is_detached), Some(false));
}

#[test]
fn what_is_left_of_a_lost_session_comes_after_the_word_that_a_connection_is_ready() {
    let now = Instant::ZERO;
    let accepting = || {
        let mut end = End::new(&config(), Role::Accepting);
        end.link = Link::new(config(), Role::Accepting);
        end.link.offer_session(SessionIdentity { id: ID, token: TOKEN });
        end.reader = end.link.handle_connected(now, Epoch::FIRST);
        end
    };
    let small = Config::builder().delivery(Delivery::Session).max_inbound_bytes(1).build().unwrap();
    let mut pair = Pair { a: End::new(&small, Role::Dialing), b: accepting() };
    pair.a.handle = true;
    pair.run(now);
    // The second request cannot start, and the cast waits behind it.
    for _ in 0..2 {
        pair.b.link.call(now, &CallOptions::new(1), b"request".into(), 0).unwrap();
    }
    cast(&mut pair.b, 9);
    pair.run(now);
    assert_eq!((pair.a.handled.len(), pair.a.events.len()), (1, 0));

    let a = &mut pair.a;
    let unused = || Reader::new(Native::new(), 1, crate::config::OnFailure::default());
    let reader = core::mem::replace(&mut a.reader, unused());
    a.link.retire_reader(now, reader, core::mem::take(&mut a.buf));
    a.link.handle_disconnected(now, None, Disconnect::Protocol(PeerError::SecondHello));
    // The next connection ends before its handshake is done, and the one after it does not.
    for dies in [true, false] {
        a.reader = a.link.handle_connected(now, a.link.epoch().next());
        a.buf = RecvBuf::new();
        a.pass(now, 0).unwrap();
        assert!(a.events.is_empty(), "the handshake is not done");
        assert_eq!(a.link.conn.agreed.granted[0], a.link.hello().normal.size - 276, "the cast takes some");
        if dies {
            let reader = core::mem::replace(&mut a.reader, unused());
            a.link.retire_reader(now, reader, core::mem::take(&mut a.buf));
            a.link.handle_disconnected(now, None, Disconnect::PeerClosed);
        }
    }

    let mut b = accepting();
    b.input(now, &a.output(now)).unwrap();
    let said = b.output(now);
    a.buf.spare()[..said.len()].copy_from_slice(&said);
    a.buf.filled(said.len());
    let mut access = &mut a.link;
    Link::begin_input(&mut a.reader, &mut access, now, said.len());
    let mut next = || {
        Link::next_event(&mut a.reader, &mut access, now, &mut a.buf).map(|next| match next {
            Next::Event(Event::Ready) => "ready",
            Next::Event(Event::Message(message)) if message.body == [9; 8] => "cast",
            Next::NeedData => "no more",
            _ => "another",
        })
    };
    assert_eq!([next().unwrap(), next().unwrap(), next().unwrap()], ["ready", "cast", "no more"]);
    assert_eq!(access.counters().messages_dropped, 0, "it was handed over");
}

/// Messages that wait in a session's reader when the session ends for good are lost, and counted.
#[test]
fn what_waits_with_the_reader_when_its_session_expires_is_counted() {
    let mut pair = detached();
    let b = &mut pair.b;
    hears(b, &Resume::new(ID, TOKEN, SENT)).unwrap();
    b.reader.hold(&mut &mut b.link, true);
    let mut frame = Vec::new();
    let meta = frame::Meta { kind: Kind::Cast, method: 1, ..frame::Meta::default() };
    Native::new().encode(&mut frame, &meta, &[], b"parked").unwrap();
    b.input(Instant::ZERO, &frame).unwrap();
    let unused = Reader::new(Native::new(), 1, crate::config::OnFailure::default());
    let reader = core::mem::replace(&mut b.reader, unused);
    b.link.retire_reader(Instant::ZERO, reader, core::mem::take(&mut b.buf));
    b.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    assert_eq!(b.link.counters().messages_dropped, 0);
    b.link.expire_session(Instant::ZERO);
    assert_eq!(b.link.counters().messages_dropped, 1);
}

/// A peer that sent go-away and whose connection was cut resumes the session after all: messages that were
/// held back are sent.
#[test]
fn a_go_away_is_over_with_its_connection() {
    let mut end = detached().a;
    resumes(&mut end, &Resume::new(ID, TOKEN, SENT)).unwrap();
    let mut frame = Vec::new();
    let meta = frame::Meta::control(Kind::GoAway, 0);
    Native::new().encode(&mut frame, &meta, &[], b"").unwrap();
    end.input(Instant::ZERO, &frame).unwrap();
    cast(&mut end, 9);
    assert!(end.output(Instant::ZERO).is_empty(), "it waits for another connection");
    end.link.handle_disconnected(Instant::ZERO, None, Disconnect::Superseded);
    let said = resumes(&mut end, &Resume::new(ID, TOKEN, SENT)).unwrap();
    assert!(said.ends_with(&[9; 8]), "{said:?}");
}
