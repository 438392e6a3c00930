//! One end of a simulated connection that is a link.

use bowline_core::auth::{Decision, Shown};
use bowline_core::body::Body;
use bowline_core::config::Config;
use bowline_core::error::Disconnect;
use bowline_core::frame::Framing;
use bowline_core::link::{Event, Inbound, InboundState, Link, LinkEvent, Message, Reader, Role};
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use crate::conduit::MakeConduit;
use crate::net::{Direction, Net};
use crate::side::{App, Side, Taken};

/// A link with its driver. Requests are answered with their own bodies, messages are stored.
#[derive(Debug)]
pub struct End<F: Framing> {
    /// The machine.
    pub link: Link<F, u64>,
    side: Side<Link<F, u64>>,
    app: Echo,
    /// The writer does not notice the end of a connection: the batch that it was writing is given back when
    /// the next connection is ready.
    pub slow_writer: bool,
    /// Events that a [`Ledger`](crate::Ledger) does not use.
    pub events: Vec<LinkEvent>,
}

/// The application of an [`End`]; `end.messages` is `end.app.messages`.
#[derive(Debug)]
pub struct Echo {
    /// Messages received, in order.
    pub messages: Vec<Vec<u8>>,
    /// Requests received, in order.
    pub requests: Vec<Vec<u8>>,
    /// Whether messages are taken as they arrive; otherwise they wait in the link's queue.
    pub takes: bool,
    /// Whether requests are answered as they arrive; otherwise their handlers wait.
    pub answers: bool,
    /// On an accepting end: requires authentication, and decides about peers.
    pub verifies: Option<fn(&Shown) -> Decision>,
    /// The credentials of peers, in order.
    pub shown: Vec<Shown>,
    /// Requests with waiting handlers, and their bodies.
    waiting: Vec<(Inbound, Body)>,
    taken: Vec<Message>,
}

impl<F: Framing> core::ops::Deref for End<F> {
    type Target = Echo;

    fn deref(&self) -> &Echo {
        &self.app
    }
}

impl<F: Framing> core::ops::DerefMut for End<F> {
    fn deref_mut(&mut self) -> &mut Echo {
        &mut self.app
    }
}

impl<F: Framing> App<Link<F, u64>> for Echo {
    fn event(
        &mut self,
        _: usize,
        now: Instant,
        link: &mut Link<F, u64>,
        reader: &mut Reader<F>,
        event: Event<'_>,
    ) -> Result<Taken, Disconnect> {
        let taken = match event {
            Event::Burst(run) => {
                if self.takes {
                    self.messages.extend(run.map(|message| message.body.to_vec()));
                } else {
                    link.enqueue_burst(run);
                }
                true
            }
            Event::Message(message) if self.takes => {
                self.messages.push(message.body.to_vec());
                true
            }
            Event::Message(message) => link.enqueue_received(&message),
            Event::Request(request) if !self.answers => match link.open_inbound(now, &request)? {
                Some(inbound) => {
                    self.requests.push(request.body.to_vec());
                    self.waiting.push((inbound, request.to_body()));
                    true
                }
                None => false,
            },
            Event::Request(request) => {
                self.requests.push(request.body.to_vec());
                // If the answer is too large, the link itself informs the caller.
                let _ = reader.answer(request.id(), request.body.into());
                true
            }
            Event::Challenge(challenge) => {
                link.answer_challenge(now, &challenge);
                true
            }
            Event::Credentials(shown) => {
                if let Some(verify) = self.verifies {
                    link.decide(now, link.epoch(), verify(&shown));
                }
                self.shown.push(*shown);
                true
            }
            _ => true,
        };
        Ok(if taken { Taken::Yes } else { Taken::No })
    }

    /// Takes waiting messages and answers waiting requests, if enabled.
    fn work(&mut self, _: usize, _: Instant, link: &mut Link<F, u64>) -> bool {
        let mut moved = false;
        if self.takes && link.take_received(usize::MAX, &mut self.taken) > 0 {
            self.messages.extend(self.taken.drain(..).map(|message| message.body.to_vec()));
            moved = true;
        }
        if self.answers {
            for (inbound, body) in self.waiting.drain(..) {
                match link.poll_inbound(inbound, None) {
                    InboundState::Wanted => link.answer(inbound, Ok((&body).into())),
                    _ => link.finish_inbound(inbound),
                }
                moved = true;
            }
        }
        moved
    }
}

impl<F: Framing> End<F> {
    /// Creates an end without a connection.
    #[must_use]
    pub fn new(config: Config<F>, role: Role) -> Self {
        let out = match role {
            Role::Dialing => Direction::ToServer,
            Role::Accepting => Direction::ToClient,
        };
        Self {
            link: Link::new(config, role),
            side: Side::new(0, out),
            app: Echo {
                messages: Vec::new(),
                requests: Vec::new(),
                takes: true,
                answers: true,
                verifies: None,
                shown: Vec::new(),
                waiting: Vec::new(),
                taken: Vec::new(),
            },
            slow_writer: false,
            events: Vec::new(),
        }
    }

    /// Has something between itself and the network: see [`Pair::through`](crate::Pair::through).
    pub(crate) fn set_through(&mut self, make: MakeConduit) {
        self.side.set_through(make);
    }

    /// Whether it has a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.side.is_connected()
    }

    /// Starts a connection.
    pub fn connect(&mut self, now: Instant, epoch: Epoch) {
        if self.app.verifies.is_some() {
            self.link.challenge(format!("challenge of {epoch:?}"));
        }
        self.side.connect(&mut self.link, now, epoch);
    }

    /// Ends the connection.
    pub fn disconnect(&mut self, now: Instant, cause: Disconnect) {
        self.side.slow_writer = self.slow_writer;
        self.side.disconnect(&mut self.link, &mut self.app, now, cause);
    }

    /// Reads, works and writes as far as possible. Returns whether something changed. `Err`: the connection
    /// ended, and this end has handled it.
    ///
    /// # Errors
    /// The cause.
    pub fn step(&mut self, now: Instant, net: &mut Net) -> Result<bool, Disconnect> {
        self.side.slow_writer = self.slow_writer;
        self.side.step(&mut self.link, &mut self.app, now, net)
    }

    /// Handles the passing of time without a connection.
    pub fn idle(&mut self, now: Instant) {
        self.side.idle(&mut self.link, &mut self.app, now);
    }

    /// Bytes of memory held for this end of the connection.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.link.memory() + self.reader_memory() + self.side.memory()
    }

    /// Bytes of memory held for incomplete messages and for messages that wait to be delivered.
    #[must_use]
    pub fn reader_memory(&self) -> usize {
        self.side.reader.as_ref().map_or(0, Reader::memory)
    }

    /// Returns the batch of a writer that was still writing when its connection ended.
    pub(crate) fn return_late(&mut self, now: Instant) -> bool {
        self.side.return_late(&mut self.link, now)
    }
}
