//! Messages that programs send and receive, compared with the reference.

use bowline_core::body::Payload;
use bowline_zmtp::message::Message;
use bowline_zmtp::options::Overflow;
use bowline_zmtp::socket::{PipeId, RecvError, SendError, SocketStats};
use bowline_zmtp::socket_type::SocketType::{self, *};

use super::operations::{Hears, Model, shape};
use super::reference::{Account, Place, assert_fair, body, read, topic};

/// Properties of a message besides its body.
#[derive(Default)]
struct Envelope {
    /// The parts before the body.
    front: Vec<Vec<u8>>,
    /// The only permitted recipient.
    to: Option<usize>,
    /// The request that it answers.
    answers: Option<usize>,
}

/// A queue of a pipe, as far as it is observable.
type Queue = (PipeId, (usize, usize, u64));

impl Model<'_> {
    fn queues(&self, node: usize) -> Vec<Queue> {
        self.network
            .pipes(node)
            .map(|(id, pipe)| (id, (pipe.waiting(), pipe.waiting_bytes(), pipe.stats().conflated)))
            .collect()
    }

    pub(crate) fn stats(&self, node: usize) -> SocketStats {
        self.network.nodes[node].socket.stats()
    }

    /// The parts around the body of the next message. `None`: there is nothing to send.
    fn envelope(&mut self, at: usize) -> Option<Envelope> {
        let node = self.programs[at].node;
        let peer = self.kinds[1 - at % 2];
        let program = &mut self.programs[at];
        match self.kinds[at % 2] {
            Rep => {
                let asking = program.asking;
                let to = asking.map(|asking| self.reference.sent[asking].from);
                Some(Envelope { front: Vec::new(), to, answers: asking })
            }
            Dealer if peer == Rep => Some(match self.choices.below(8) {
                // A request without an envelope.
                0 => Envelope::default(),
                1 => Envelope { front: vec![b"x".to_vec(), Vec::new()], ..Envelope::default() },
                _ => Envelope { front: vec![Vec::new()], ..Envelope::default() },
            }),
            Router | Server | SocketType::Peer => {
                let targets = self.network.nodes[node].socket.targets().to_vec();
                let replies = !program.asked_by.is_empty() && (peer == Req || self.choices.one_in(2));
                let (front, answers) = if replies {
                    let which = self.choices.below(program.asked_by.len());
                    // Some are answered twice.
                    let (front, asked) = match !self.is_ending && self.choices.one_in(8) {
                        true => program.asked_by[which].clone(),
                        false => program.asked_by.swap_remove(which),
                    };
                    (front, Some(asked))
                } else {
                    let id = *targets.get(self.choices.below(targets.len().max(1)))?;
                    let id = self.network.nodes[node].socket.routing_id(id)?;
                    (vec![id.to_vec()], None)
                };
                if peer == Req && answers.is_none() {
                    return None;
                }
                let pipe = self.reference.accounts[node].ids.get(&front[0]);
                let to = pipe.and_then(|id| self.network.peer_of(node, *id));
                Some(Envelope { front, to, answers })
            }
            _ => Some(Envelope::default()),
        }
    }

    pub(crate) fn send(&mut self, at: usize) {
        let node = self.programs[at].node;
        let (traits, number) = (self.traits[node], self.reference.next());
        let Some(Envelope { front, to, answers }) = self.envelope(at) else { return };
        let body = body(number, shape(traits.kind));
        let parts = front.iter().map(Payload::from).chain(body.iter().map(Payload::from));
        let parts: Vec<_> = parts.collect();
        // Returned messages may now be sent.
        let can = self.network.at(node, |socket, pipes| socket.can_send(pipes));
        let before = (self.queues(node), self.stats(node), self.network.nodes[node].socket.returned());
        let targets = self.network.nodes[node].socket.targets().to_vec();
        let has_room = |id: &PipeId| self.network.pipe(node, *id).is_some_and(|pipe| pipe.has_room());
        let (all_have_room, any_has_room) = (targets.iter().all(has_room), targets.iter().any(has_room));
        let sent = self.network.at(node, |socket, pipes| socket.send(pipes, &parts));
        let after = (self.queues(node), self.stats(node), self.network.nodes[node].socket.returned());
        let changed = after.0.iter().zip(&before.0).filter(|(after, before)| after != before);
        let changed: Vec<PipeId> = changed.map(|(queue, _)| queue.0).collect();
        let has_moved = before.2 > 0;
        if !all_have_room || has_moved {
            self.reference.accounts[node].new_round();
        }
        match sent {
            Ok(()) => {
                assert!(can || traits.conflates, "it said that it cannot send");
                let lost = (after.1.overflowed - before.1.overflowed, after.1.discarded - before.1.discarded);
                // A message that replaced others was counted with them.
                let of = |queue: &Queue| queue.1.0 as u64 + queue.1.2;
                let waiting = |queues: &[Queue]| queues.iter().map(of).sum::<u64>();
                let overflowed = after.1.overflowed - before.1.overflowed;
                let more = (waiting(&after.0) + overflowed).saturating_sub(waiting(&before.0));
                let is_whole = lost == (0, 0) && after.1.dropped == before.1.dropped && !has_moved;
                self.took(at, number, (to, answers), (&changed, more), lost, is_whole);
                let account = &mut self.reference.accounts[node];
                let balances = matches!(traits.kind, Push | Dealer | Client | Scatter);
                if balances && is_whole && all_have_room && !traits.conflates {
                    account.took_turn(changed[0], &targets);
                }
            }
            Err(error) => {
                assert!(changed.is_empty() || has_moved, "nothing was sent: {error}");
                match error {
                    SendError::WouldBlock => {
                        let has_room = if traits.kind == XSub { all_have_room } else { any_has_room };
                        assert!(!can && (!has_room || has_moved), "it waits for nothing");
                    }
                    SendError::Full => assert!(!all_have_room, "it was full"),
                    SendError::Unroutable(_) => assert!(to.is_none(), "it is there"),
                    SendError::State(Req) => {
                        assert!(self.reference.accounts[node].asked.is_some() && !traits.relaxed);
                    }
                    SendError::State(Rep) => assert!(answers.is_none()),
                    SendError::NotSupported(kind) => assert!(!kind.sends()),
                    other => panic!("{other}"),
                }
                let is_answer = matches!(error, SendError::Full | SendError::Unroutable(_));
                self.left_unanswered |= is_answer && answers.is_some();
            }
        }
        self.note();
    }

    /// A node accepted message `number`. These of its queues changed; the numbers of messages that were
    /// added.
    fn took(
        &mut self,
        at: usize,
        number: usize,
        (to, answers): (Option<usize>, Option<usize>),
        (changed, more): (&[PipeId], u64),
        (overflowed, discarded): (u64, u64),
        is_whole: bool,
    ) {
        let node = self.programs[at].node;
        let traits = self.traits[node];
        let account = &mut self.reference.accounts[node];
        match traits.kind {
            Pub | XPub | Radio => {
                let (exact, first) = (traits.kind == Radio, topic(number).as_bytes());
                let peers = if traits.hears == Hears::Manual { &account.given } else { &account.peers };
                let wants = peers
                    .iter()
                    .filter(|(_, topics)| Account::wants(topics.iter(), first, exact, traits.inverts));
                let expected: Vec<PipeId> = wants.map(|(id, _)| *id).collect();
                assert_eq!(discarded, u64::from(expected.is_empty()));
                if overflowed == 0 {
                    assert_eq!(changed, expected, "those who want {number} get it");
                } else {
                    assert!(changed.iter().all(|id| expected.contains(id)), "nobody else gets it");
                }
                account.taken += expected.len() as u64;
                self.reference.took(node, (None, None), changed, true);
                return;
            }
            XSub => {
                account.taken += more + discarded;
                self.reference.took(node, (None, None), changed, true);
                return;
            }
            Req if is_whole || traits.overflow != Overflow::DropNewest || overflowed == 0 => {
                assert!(account.asked.is_none() || traits.relaxed || account.went, "one at a time");
                (account.asked, account.went) = (Some(number), false);
            }
            Rep => self.programs[at].asking = None,
            _ => {}
        }
        self.reference.accounts[node].taken += 1;
        if is_whole {
            assert_eq!(changed.len(), 1, "{number} is in one queue");
        }
        let queues = if is_whole { changed } else { &[] };
        self.reference.took(node, (to, answers), queues, false);
        self.left_unanswered |= answers.is_some() && !is_whole;
    }

    pub(crate) fn receive(&mut self, at: usize, most: usize) {
        let node = self.programs[at].node;
        self.receive_from(node, Some(at), most);
    }

    /// A node receives up to `most` messages. Returns their number.
    pub(crate) fn receive_from(&mut self, node: usize, program: Option<usize>, most: usize) -> usize {
        let (before, mut message, mut from) = (self.stats(node), Message::new(), Vec::new());
        while from.len() < most {
            if program.is_none() && self.traits[node].kind == Rep {
                self.answer_nobody(node);
            }
            let can = self.network.at(node, |socket, pipes| socket.can_recv(pipes));
            let stats = self.stats(node);
            let received = self.network.at(node, |socket, pipes| socket.recv(pipes, &mut message));
            match received {
                Ok(id) => {
                    assert!(can, "it said that there is nothing");
                    from.push(id);
                    self.came(node, program, id, &message);
                }
                Err(RecvError::PeerLost) => {
                    let account = &mut self.reference.accounts[node];
                    assert!(can && account.went, "nobody went");
                    assert!(account.asked.take().is_some(), "nobody was asked");
                }
                Err(error) => {
                    assert!(!can || stats != self.stats(node), "it said that there is something: {error}");
                    break;
                }
            }
        }
        let is_filtered =
            self.stats(node).filtered > before.filtered || self.stats(node).dropped > before.dropped;
        // Notices of subscriptions arrive in the order of all peers.
        if !is_filtered && self.traits[node].kind != XPub {
            assert_fair(&from);
        }
        self.note();
        from.len()
    }

    /// The queue at the other end of the last connection of a pipe.
    fn origin(&self, node: usize, id: PipeId) -> Option<Place> {
        self.network.connections.iter().rev().find_map(|connection| {
            let at = connection.ends.iter().position(|end| (end.node, end.id) == (node, id))?;
            let other = connection.ends[1 - at];
            Some((other.node, other.id))
        })
    }

    fn came(&mut self, node: usize, program: Option<usize>, id: PipeId, message: &Message) {
        let traits = self.traits[node];
        let parts: Vec<&[u8]> = message.iter().map(|part| part.as_slice()).collect();
        if let ([[kind @ (0 | 1), topic @ ..]], XPub) = (&parts[..], traits.kind) {
            return self.heard(node, id, *kind == 1, topic);
        }
        let known = self.reference.accounts[node].ids.iter().find(|(_, pipe)| **pipe == id);
        assert!(known.is_none_or(|(known, _)| known == parts[0]), "{known:?} is its id");
        if self.announced(node, id, &parts) {
            return;
        }
        let (front, number) = read(&parts, shape(traits.kind));
        let sender = self.traits[self.reference.sent[number].from];
        let keeps_all = sender.overflow != Overflow::DropOldest && !matches!(traits.kind, Req | Rep);
        let is_filtered = self.stats(node).filtered > 0;
        let keeps = (keeps_all && !is_filtered).then_some(sender.conflates || traits.conflates);
        let origin = self.origin(node, id);
        self.reference.came((node, id), origin, number, keeps, !self.is_slow);
        let answers = self.reference.sent[number].answers;
        let account = &mut self.reference.accounts[node];
        match traits.kind {
            Sub | Dish => {
                let wants = account.wants.keys();
                let wanted =
                    Account::wants(wants, topic(number).as_bytes(), traits.kind == Dish, traits.inverts);
                assert!(wanted, "nobody wants {number}");
            }
            Req => {
                let answered = answers.expect("a reply");
                let asked = account.asked.take();
                // Replies that a ROUTER sends twice, or to a request that came back, differ only in their
                // number.
                let is_told_apart = self.kinds[1] == Rep && !traits.relaxed;
                if is_told_apart || traits.correlates {
                    assert_eq!(asked, Some(answered), "{number} is a reply to another request");
                }
            }
            Rep => {
                if let Some(at) = program {
                    self.programs[at].asking = Some(number);
                }
            }
            Router | Server | SocketType::Peer => {
                if let Some(at) = program {
                    let envelope = parts[..front].iter().map(|part| part.to_vec()).collect();
                    let asked_by = &mut self.programs[at].asked_by;
                    asked_by.push((envelope, number));
                    // If no peer has to be answered, not all are.
                    if asked_by.len() > 20 && self.kinds[1 - at % 2] != Req {
                        asked_by.remove(0);
                    }
                }
            }
            _ => {}
        }
    }

    /// An XPUB receives a subscription, or the end of one.
    fn heard(&mut self, node: usize, id: PipeId, begins: bool, topic: &[u8]) {
        let account = &mut self.reference.accounts[node];
        let told = account.told.entry(topic.to_vec()).or_default();
        *told += if begins { 1 } else { -1 };
        let (told, hears) = (*told, self.traits[node].hears);
        // Each end is received after its beginning, whichever peer sent it.
        match hears {
            Hears::Changes => assert!((0..=1).contains(&told), "{topic:?}: {told}"),
            Hears::Beginnings if !begins => {
                // It is the last end.
                assert!(told >= 0, "{topic:?}: {told}");
                account.told.remove(topic);
            }
            Hears::Beginnings => {}
            Hears::Each | Hears::Manual => assert!(told >= 0, "{topic:?}: {told}"),
        }
        if hears != Hears::Manual {
            return;
        }
        let peer = self.network.nodes[node].socket.peer_id(id);
        let (effects, done) = self.network.observe(node, id, |socket, pipes| match begins {
            true => socket.subscribe_peer(pipes, peer, topic),
            false => socket.unsubscribe_peer(peer, topic).map(drop),
        });
        if begins && done.is_ok() {
            self.welcomed(node, topic, effects);
        }
        // Messages of a disconnected peer have a number that no peer has.
        let account = &mut self.reference.accounts[node];
        assert_eq!(done.is_ok(), account.peers.contains_key(&id), "{done:?}");
        let given = account.given.entry(id).or_default();
        _ = if begins { done.is_ok() && given.insert(topic.to_vec()) } else { given.remove(topic) };
        if done.is_err() {
            account.given.remove(&id);
        }
    }

    /// Requests of a REP whose socket is closed will never be answered.
    fn answer_nobody(&mut self, node: usize) {
        match self.network.at(node, |socket, pipes| socket.send(pipes, &[b"".into()])) {
            Ok(()) => self.reference.accounts[node].taken += 1,
            Err(error) => assert_eq!(error, SendError::State(Rep)),
        }
    }
}
