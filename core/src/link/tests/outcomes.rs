//! Returned messages equal the sent ones; acknowledgements are reported at once, wherever they arrive.

use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::config::{ConfigBuilder, Delivery, OnDisconnect};
use crate::error::{ConfigError, Disconnect, EncodeError, FrameError};
use crate::frame::buffstreams::Buffstreams;
use crate::frame::length_prefixed::LengthPrefixed;
use crate::frame::{Class, Kind, Meta, Profile, Step};

/// A framing that writes after the body, as a user's framing may: a message ends with a zero. It escapes
/// nothing, so that the bodies of these tests contain no zeros.
#[derive(Clone, Debug)]
struct Stuffed;

impl Framing for Stuffed {
    fn profile(&self) -> Profile {
        Profile::messages("stuffed")
    }
    fn max_message(&self) -> usize {
        1 << 20
    }
    fn set_max_message(&mut self, _: usize) -> Result<(), ConfigError> {
        Ok(())
    }
    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
        Ok(match unread.iter().position(|&byte| byte == 0) {
            Some(end) => {
                Step::Frame { meta: Meta::default(), extensions: 0..0, body: 0..end, consumed: end + 1 }
            }
            None => Step::Need(unread.len() + 1),
        })
    }
    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        meta.check_plain(extensions)?;
        Ok(out.len())
    }
    fn finish(&self, out: &mut Vec<u8>, _: usize, _: usize) -> Result<(), EncodeError> {
        out.push(0);
        Ok(())
    }
}

/// A framing whose receiver gets the header with the body, as a user's may: four bytes of length in front.
#[derive(Clone, Debug)]
struct WithHeader;

impl Framing for WithHeader {
    fn profile(&self) -> Profile {
        Profile::messages("with its header")
    }
    fn max_message(&self) -> usize {
        1 << 20
    }
    fn set_max_message(&mut self, _: usize) -> Result<(), ConfigError> {
        Ok(())
    }
    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
        let len = unread.first_chunk().map(|len| 4 + u32::from_be_bytes(*len) as usize);
        Ok(match len {
            Some(len) if len <= unread.len() => {
                Step::Frame { meta: Meta::default(), extensions: 0..0, body: 0..len, consumed: len }
            }
            _ => Step::Need(len.unwrap_or(4)),
        })
    }
    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        meta.check_plain(extensions)?;
        out.extend_from_slice(&[0; 4]);
        Ok(out.len() - 4)
    }
    fn finish(&self, out: &mut Vec<u8>, mark: usize, _: usize) -> Result<(), EncodeError> {
        let len = (out.len() - mark - 4) as u32;
        out[mark..mark + 4].copy_from_slice(&len.to_be_bytes());
        Ok(())
    }
}

/// The bodies of casts, which have to be returned unchanged.
#[derive(Clone, Debug)]
struct Given {
    options: CastOptions,
    method: u32,
    seq: u64,
    extensions: Vec<u8>,
    body: Vec<u8>,
    owned: bool,
}

impl Given {
    fn plain(body: Vec<u8>, owned: bool) -> Self {
        Self { options: CastOptions::new(0), method: 0, seq: 0, extensions: Vec::new(), body, owned }
    }

    fn check(&self, back: &Undelivered) {
        assert_eq!((back.kind, back.method, back.seq), (Kind::Cast, self.method, self.seq));
        assert!(back.extensions[..] == self.extensions, "extensions");
        let (is, was) = (back.body.len(), self.body.len());
        assert!(back.body[..] == self.body, "{is} bytes are not the {was} that were given");
    }
}

/// Each way of returning a message: `close`, errored messages, and the caller that waits for the outcome.
fn comes_back<F: Framing>(framing: &F, given: &[Given]) {
    let config = |set: fn(ConfigBuilder<F>) -> ConfigBuilder<F>| {
        let queue = QueueLimit { messages: 10_000, bytes: 1 << 30 };
        let config = Config::with_framing(framing.clone()).write_queue(queue).errored_queue(queue);
        set(config).build().unwrap()
    };
    let cast_all = |link: &mut Link<F, u32>, watch: bool| {
        for given in given {
            let payload = if given.owned {
                bytes::Bytes::from(given.body.clone()).into()
            } else {
                given.body.as_slice().into()
            };
            let queued = link.cast(Instant::ZERO, &given.options, payload).unwrap();
            if watch {
                link.watch_outcome(queued.number, 1);
            }
        }
    };

    let mut link = Link::new(config(|config| config), Role::Dialing);
    cast_all(&mut link, false);
    link.close(Instant::ZERO, Duration::ZERO);
    link.handle_timeout(Instant::ZERO);
    let mut back = link.take_undelivered();
    back.sort_by_key(|back| back.number);
    assert_eq!(back.len(), given.len());
    given.iter().zip(&back).for_each(|(given, back)| given.check(back));

    // The connection ends before the first batch was taken, or with that many bytes of it written. Sent
    // messages are not returned; all others are, whole.
    for written in [None, Some(0), Some(1), Some(1_000), Some(70_000)] {
        let mut end = End::new(&config(|config| config.on_disconnect(OnDisconnect::Return)), Role::Dialing);
        end.pass(Instant::ZERO, 0).unwrap();
        cast_all(&mut end.link, false);
        let mut batch = written.and_then(|_| end.link.begin_write(Instant::ZERO));
        if let Some((batch, written)) = batch.as_mut().zip(written) {
            batch.wrote(written.min(batch.len() - 1));
        }
        end.link.handle_disconnected(Instant::ZERO, batch, Disconnect::PeerClosed);
        let mut back: Vec<_> = core::iter::from_fn(|| end.link.poll_errored(&mut None, || 0)).collect();
        back.sort_by_key(|back| back.number);
        let left = if written.is_some_and(|written| written > 0) { given.len() - 1 } else { 0 };
        assert!((given.len() - left..=given.len()).contains(&back.len()), "{}", back.len());
        back.iter().for_each(|back| given[back.number as usize - 1].check(back));
    }

    let mut link = Link::new(config(|config| config.expire_after(MS)), Role::Dialing);
    cast_all(&mut link, true);
    link.handle_timeout(Instant::ZERO + MS * 2);
    for (number, given) in (1..).zip(given) {
        given.check(&link.poll_outcome(number, || 0).unwrap().unwrap_err());
    }
}

fn bodies(longest: usize) -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
    let len = prop_oneof![1_usize..300, 1..longest, Just(longest)];
    prop::collection::vec((len, 1_u8..250, any::<bool>()), 1..12).prop_map(|all| {
        all.into_iter()
            .map(|(len, first, owned)| ((0..len).map(|i| (i % 200) as u8 + first % 50 + 1).collect(), owned))
            .collect()
    })
}

/// Every kind of length field, with the shortest body that it can express.
fn length_prefixed() -> impl Strategy<Value = (LengthPrefixed, usize)> {
    let field = prop_oneof![1 => Just(None), 3 => (1_usize..=8, any::<bool>()).prop_map(Some)];
    let settings = (0_usize..4, field, -12_i64..40, prop_oneof![Just(None), (0_usize..12).prop_map(Some)]);
    settings.prop_filter_map("settings that cannot be", |(prefix, field, adjustment, skip)| {
        let mut builder =
            LengthPrefixed::builder().header_prefix(&[7; 4][..prefix]).length_adjustment(adjustment);
        builder = match field {
            None => builder.varint().max_frame_length(100_000),
            Some((len, little)) => {
                let longest = if len > 2 { 100_000 } else { (1 << (8 * len)) - 50 };
                let builder = builder.length_field_length(len).max_frame_length(longest);
                if little { builder.little_endian() } else { builder }
            }
        };
        if let Some(skip) = skip {
            builder = builder.num_skip(skip);
        }
        Some((builder.build().ok()?, adjustment.max(1) as usize))
    })
}

fn plain(bodies: Vec<(Vec<u8>, bool)>) -> Vec<Given> {
    bodies.into_iter().map(|(body, owned)| Given::plain(body, owned)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn raw_bytes_come_back_whole(bodies in bodies(300_000), chunk in 1_usize..100_000) {
        comes_back(&Raw::new().with_chunk(chunk).unwrap(), &plain(bodies));
    }

    #[test]
    fn a_length_prefixed_message_comes_back_without_its_header(
        (framing, shortest) in length_prefixed(),
        mut bodies in bodies(60_000),
    ) {
        // The first bytes of a kept header count as the body's.
        let longest = framing.max_message() - 20;
        for (body, _) in &mut bodies {
            body.resize(body.len().clamp(shortest, longest), 7);
        }
        comes_back(&framing, &plain(bodies));
    }

    #[test]
    fn messages_of_the_other_framings_come_back(bodies in bodies(100_000), method: u32, seq: u64) {
        comes_back(&Buffstreams::new().with_max_message(100_000).unwrap(), &plain(bodies.clone()));
        comes_back(&Stuffed, &plain(bodies.clone()));
        comes_back(&WithHeader, &plain(bodies.clone()));
        let options = CastOptions::new(method).seq(seq);
        let given = plain(bodies.clone()).into_iter().map(|given| Given { options: options.clone(), method, seq, ..given });
        comes_back(&Tcpstream::new(), &given.collect::<Vec<_>>());
        let mut extensions = crate::frame::native::Extensions::new();
        extensions.push(200, &method.to_be_bytes()).unwrap();
        let extensions = extensions.into_bytes();
        let given = plain(bodies).into_iter().enumerate().map(|(i, given)| {
            let extensions = if i % 2 == 0 { extensions.clone() } else { Vec::new() };
            let class = [Class::Normal, Class::Bulk][i / 2 % 2];
            let options = CastOptions::new(method).extensions(extensions.clone()).class(class);
            Given { options, method, extensions, ..given }
        });
        comes_back(&Native::new(), &given.collect::<Vec<_>>());
    }
}

#[test]
fn a_message_without_bytes_has_an_outcome() {
    let mut link: Link<Raw, u32> =
        Link::new(Config::with_framing(Raw::new()).build().unwrap(), Role::Dialing);
    let queued = link.cast(Instant::ZERO, &CastOptions::new(0), b"".as_slice().into()).unwrap();
    link.watch_outcome(queued.number, 3);
    assert_eq!(link.poll_outcome(queued.number, || 0), Some(Ok(Outcome::Written)));
    let queued = link.cast(Instant::ZERO, &CastOptions::new(0).notify(true), b"".as_slice().into()).unwrap();
    let event = link.poll_event(&mut None, || 0);
    assert_eq!(event, Some(LinkEvent::MessageEnded { number: queued.number, outcome: Outcome::Written }));
}

/// A session between two ends.
fn session() -> Pair<Native> {
    let config = Config::builder().delivery(Delivery::Session).build().unwrap();
    let (a, mut b) = (End::new(&config, Role::Dialing), End::new(&config, Role::Accepting));
    b.link = Link::new(config, Role::Accepting);
    b.link.offer_session(SessionIdentity { id: 5, token: [7; 16] });
    b.reader = b.link.handle_connected(Instant::ZERO, Epoch::FIRST);
    let mut pair = Pair { a, b };
    pair.run(Instant::ZERO);
    pair
}

fn watched(link: &mut Link<Native, u32>, body: &[u8]) -> u64 {
    let number = link.cast(Instant::ZERO, &CastOptions::new(1), body.into()).unwrap().number;
    link.watch_outcome(number, 1);
    number
}

/// The peer's acknowledgement may arrive before the writer reports that the message was written.
#[test]
fn an_acknowledgement_during_the_write_is_told() {
    let mut pair = session();
    let number = watched(&mut pair.a.link, b"hello");
    let mut batch = pair.a.link.begin_write(Instant::ZERO).unwrap();
    let mut slices = [&[][..]; 4];
    let n = batch.slices(&mut slices);
    let bytes = slices[..n].concat();
    batch.wrote(bytes.len());
    let later = Instant::ZERO + MS * 30;
    pair.b.input(Instant::ZERO, &bytes).unwrap();
    pair.b.link.handle_timeout(later);
    let ack = pair.b.output(later);
    pair.a.input(later, &ack).unwrap();
    assert_eq!((pair.a.link.unacknowledged(), pair.a.link.poll_outcome(number, || 2)), (0, None));
    let _more = pair.a.link.end_write(later, batch);
    assert_eq!(pair.a.tokens(), [2]);
    assert_eq!(pair.a.link.poll_outcome(number, || 0), Some(Ok(Outcome::Acked)));
}

/// The same, and the session ends before that report: an acknowledged message is no failure, and the rest is
/// returned unchanged.
#[test]
fn a_batch_that_outlives_its_session_is_told_of() {
    let mut pair = session();
    let first = watched(&mut pair.a.link, b"first");
    let batch = pair.a.link.begin_write(Instant::ZERO).unwrap();
    let mut slices = [&[][..]; 4];
    let n = batch.slices(&mut slices);
    let bytes = slices[..n].concat();
    pair.b.input(Instant::ZERO, &bytes).unwrap();
    let later = Instant::ZERO + MS * 30;
    pair.b.link.handle_timeout(later);
    let ack = pair.b.output(later);
    pair.a.input(later, &ack).unwrap();
    pair.a.link.handle_disconnected(later, None, Disconnect::PeerClosed);
    assert!(pair.a.link.is_detached());
    pair.a.link.handle_connected(later, pair.a.link.epoch().next());
    pair.a.link.handle_disconnected(later, None, PeerError::Ack { value: 9, limit: 1 }.into());
    assert_eq!(pair.a.link.session(), None);
    assert_eq!(pair.a.link.poll_outcome(first, || 0), None, "whoever writes it has it");
    let _more = pair.a.link.end_write(later, batch);
    assert_eq!(pair.a.link.poll_outcome(first, || 0), Some(Ok(Outcome::Acked)));
    assert!(pair.a.link.poll_errored(&mut None, || 0).is_none());
}

/// What a session keeps whole until its end is acknowledged counts whole, however little of it is left to
/// be acknowledged.
#[test]
fn a_long_message_counts_until_it_is_acknowledged() {
    let mut pair = session();
    let body = vec![1; 600_000];
    let _queued = pair.a.link.cast(Instant::ZERO, &CastOptions::new(1), body.as_slice().into()).unwrap();
    let last = loop {
        let out = pair.a.output(Instant::ZERO);
        if pair.a.link.arena.is_flushed() {
            break out;
        }
        pair.b.input(Instant::ZERO, &out).unwrap();
        pair.a.input(Instant::ZERO, &pair.b.output(Instant::ZERO)).unwrap();
    };
    assert!(last.len() < body.len() && pair.a.link.unacknowledged() > 0, "the end of it");
    let bytes = pair.a.link.holding().bytes;
    assert!(bytes > body.len(), "{bytes}");
    pair.b.input(Instant::ZERO, &last).unwrap();
    let later = Instant::ZERO + MS * 30;
    pair.b.link.handle_timeout(later);
    pair.run(later);
    assert_eq!(pair.a.link.unacknowledged(), 0);
    assert!(pair.a.link.holding().bytes < 1024, "and no longer");
}

/// A peer that reads everything and ends the connection, repeatedly.
#[test]
fn attempts_are_counted_where_what_was_written_is_sent_again() {
    let run = |retry_limit, watch: bool| {
        let config = Config::with_framing(Raw::new());
        let config =
            config.delivery(Delivery::AtLeastOnce { retry_limit }).resend_window(64).build().unwrap();
        let mut end = End::new(&config, Role::Dialing);
        end.pass(Instant::ZERO, 0).unwrap();
        let number = end.link.cast(Instant::ZERO, &CastOptions::new(0), b"x".into()).unwrap().number;
        if watch {
            end.link.watch_outcome(number, 1);
        }
        let (mut arrived, mut told) = (0, Vec::new());
        for _ in 0..10 {
            arrived += end.output(Instant::ZERO).len();
            told.extend(end.link.poll_outcome(number, || 1));
            end.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
            let epoch = end.link.epoch().next();
            end.reader = end.link.handle_connected(Instant::ZERO, epoch);
            end.pass(Instant::ZERO, 0).unwrap();
        }
        let back: Vec<_> = core::iter::from_fn(|| end.link.poll_errored(&mut None, || 0)).collect();
        (arrived, told, back)
    };
    let (arrived, _, back) = run(2, false);
    assert_eq!((arrived, back.len(), back[0].attempts), (3, 1, 3));
    assert_eq!(back[0].outcome, Outcome::MaybeDelivered);
    // A caller that got `Written` gets no second outcome.
    for limit in [0, 2] {
        let (arrived, told, back) = run(limit, true);
        assert_eq!((arrived, told, back.len()), (limit as usize + 1, vec![Ok(Outcome::Written)], 0));
    }
}

/// A caller writes, its connection ends in the meantime, and only then does it give the batch back: all of it
/// may have been lost with the connection.
#[test]
fn a_batch_that_comes_back_late_is_sent_again_too() {
    for (retry_limit, written) in [(1, 60), (1, 30), (1, 0), (0, 60)] {
        let config = Config::with_framing(Raw::new());
        let config =
            config.delivery(Delivery::AtLeastOnce { retry_limit }).resend_window(1 << 20).build().unwrap();
        let mut end = End::new(&config, Role::Dialing);
        end.pass(Instant::ZERO, 0).unwrap();
        let queue = |end: &mut End<Raw>, i: u8| {
            let _queued = end.link.cast(Instant::ZERO, &CastOptions::new(0), (&[i; 20][..]).into()).unwrap();
        };
        (0..3).for_each(|i| queue(&mut end, i));
        let mut late = end.link.begin_write(Instant::ZERO).unwrap();
        queue(&mut end, 3);
        end.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
        let epoch = end.link.epoch().next();
        end.reader = end.link.handle_connected(Instant::ZERO, epoch);
        end.pass(Instant::ZERO, 0).unwrap();
        late.wrote(written);
        let _more = end.link.end_write(Instant::ZERO, late);
        let again = end.output(Instant::ZERO);
        let back = core::iter::from_fn(|| end.link.poll_errored(&mut None, || 0)).count();
        if retry_limit == 1 {
            assert_eq!((again, back), ([[0; 20], [1; 20], [2; 20], [3; 20]].concat(), 0), "{written}");
        } else {
            assert_eq!((again, back), (vec![3; 20], 3), "the outcome of each is reported once");
        }
    }
}

/// A caller writes while its link ends for good: the number of written bytes decides about each message, once
/// the batch has been given back.
#[test]
fn what_a_caller_wrote_while_its_link_ended_is_told_exactly() {
    for written in [0, 30, 60] {
        let config = Config::with_framing(Raw::new()).build().unwrap();
        let mut end = End::new(&config, Role::Dialing);
        end.pass(Instant::ZERO, 0).unwrap();
        let numbers = [0, 1, 2].map(|i| {
            let body: &[u8] = &[i; 20];
            end.link.cast(Instant::ZERO, &CastOptions::new(0), body.into()).unwrap().number
        });
        // No caller waits for the outcome of the last cast.
        numbers[..2].iter().for_each(|&number| end.link.watch_outcome(number, 1));
        let mut late = end.link.begin_write(Instant::ZERO).unwrap();
        end.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
        end.link.give_up(Instant::ZERO, Disconnect::PeerClosed);
        let told = |end: &mut End<Raw>| -> Vec<_> {
            numbers[..2].iter().filter_map(|&number| end.link.poll_outcome(number, || 1)).collect()
        };
        assert_eq!(told(&mut end), [], "it is not known yet");
        assert!(!end.link.poll_late_writes(|| 7), "nor what is handed back");
        late.wrote(written);
        let _more = end.link.end_write(Instant::ZERO, late);
        assert!(end.link.poll_late_writes(|| 7));
        let mut tokens = Vec::new();
        end.link.take_tokens(&mut tokens);
        assert!(tokens.contains(&7) && tokens.contains(&1), "those who wait for it are woken: {tokens:?}");
        let outcome = |number: usize| match () {
            () if written >= 20 * (number + 1) => Outcome::Written,
            () if written > 20 * number => Outcome::MaybeDelivered,
            () => Outcome::NeverSent,
        };
        for (number, told) in told(&mut end).into_iter().enumerate() {
            match told {
                Ok(told) => assert_eq!((told, told), (outcome(number), Outcome::Written)),
                Err(error) => {
                    assert_eq!(error.outcome, outcome(number));
                    assert_eq!(error.body[..], [number as u8; 20]);
                }
            }
        }
        let back: Vec<_> =
            end.link.take_undelivered().into_iter().map(|back| (back.body[0], back.outcome)).collect();
        let expected: Vec<_> = (written < 60).then(|| (2, outcome(2))).into_iter().collect();
        assert_eq!(back, expected, "{written} of 60 bytes were written");
    }
}

/// After one write, only the messages that the window's last bytes belong to are sent again.
#[test]
fn a_small_window_sends_no_whole_batch_again() {
    let config = Config::with_framing(Raw::new());
    let config = config.delivery(Delivery::AtLeastOnce { retry_limit: 1 }).resend_window(64).build().unwrap();
    let mut end = End::new(&config, Role::Dialing);
    end.pass(Instant::ZERO, 0).unwrap();
    for i in 0..10 {
        let _queued = end.link.cast(Instant::ZERO, &CastOptions::new(0), (&[i; 20][..]).into()).unwrap();
    }
    assert_eq!(end.output(Instant::ZERO).len(), 200);
    end.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    let epoch = end.link.epoch().next();
    end.reader = end.link.handle_connected(Instant::ZERO, epoch);
    end.pass(Instant::ZERO, 0).unwrap();
    let again = end.output(Instant::ZERO);
    assert_eq!(again, [[6; 20], [7; 20], [8; 20], [9; 20]].concat());
}
