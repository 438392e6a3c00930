//! The fate of every cast of a [`Pair`](crate::Pair): everything that its links reported, and whether the
//! reports are consistent.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::error::Outcome;
use bowline_core::frame::{Framing, Kind};
use bowline_core::link::{LinkEvent, Undelivered, WaitTicket};

use crate::end::End;

/// A cast made in a [`Pair`](crate::Pair) that keeps a ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PairCast(pub(crate) usize);

/// What the sender of a cast wants to be reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wants {
    /// Failures only.
    Failures,
    /// Every outcome, as an event.
    Event,
    /// Every outcome, to a waiting caller.
    Outcome,
}

/// One report of a link about a cast.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// To the waiting caller.
    Outcome(Result<Outcome, Undelivered>),
    /// As the event of a delivered message.
    Ended(Outcome),
    /// As the event of a failed message.
    Failed(Outcome),
    /// Among the errored messages.
    Errored(Undelivered),
    /// By a link that was closed.
    HandedBack(Undelivered),
}

/// A cast, and the reports about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// The end that sent it.
    pub side: usize,
    /// The number of earlier links of that end (a restarted peer has a new link).
    pub life: usize,
    /// The number that `cast` returned.
    pub number: u64,
    /// Method id.
    pub method: u32,
    /// The body.
    pub body: Vec<u8>,
    /// What the sender wants to be reported.
    pub wants: Wants,
    /// The reports.
    pub told: Vec<Told>,
}

/// Every cast of a [`Pair`](crate::Pair), in order, with the reports about it.
#[derive(Debug, Default)]
pub struct Ledger {
    casts: Vec<Given>,
    /// By end, life and number.
    index: BTreeMap<(usize, usize, u64), usize>,
    /// Casts whose sender waits.
    awaited: BTreeSet<(usize, usize, u64)>,
    /// Wait tickets of each end, for events and for errored messages.
    tickets: [[Option<WaitTicket>; 2]; 2],
}

impl Ledger {
    /// Every cast so far.
    #[must_use]
    pub fn casts(&self) -> &[Given] {
        &self.casts
    }

    /// Records a cast.
    pub fn give(&mut self, given: Given) -> PairCast {
        let at = self.casts.len();
        let key = (given.side, given.life, given.number);
        self.index.insert(key, at);
        if given.wants == Wants::Outcome {
            self.awaited.insert(key);
        }
        self.casts.push(given);
        PairCast(at)
    }

    /// The caller stops waiting for the outcome of that cast, if it still waits.
    pub(crate) fn forget(&mut self, cast: PairCast) -> Option<&Given> {
        let given = &mut self.casts[cast.0];
        if !self.awaited.remove(&(given.side, given.life, given.number)) {
            return None;
        }
        given.wants = Wants::Failures;
        Some(given)
    }

    /// That end has a new link.
    pub(crate) fn restarted(&mut self, side: usize) {
        self.tickets[side] = [None; 2];
    }

    fn tell(&mut self, side: usize, life: usize, number: u64, told: Told) {
        let at = self.index.get(&(side, life, number));
        let at = *at.unwrap_or_else(|| panic!("{told:?} of {number}, which was never cast"));
        self.casts[at].told.push(told);
    }

    /// Takes all reports of an end's link.
    ///
    /// # Panics
    /// If a report concerns a cast that was never made.
    pub fn collect<F: Framing>(&mut self, side: usize, life: usize, end: &mut End<F>) {
        let [mut for_event, mut for_errored] = self.tickets[side];
        while let Some(event) = end.link.poll_event(&mut for_event, || 0) {
            match event {
                LinkEvent::MessageEnded { number, outcome } => {
                    self.tell(side, life, number, Told::Ended(outcome));
                }
                LinkEvent::MessageFailed { number, outcome, .. } => {
                    self.tell(side, life, number, Told::Failed(outcome));
                }
                _ => end.events.push(event),
            }
        }
        while let Some(undelivered) = end.link.poll_errored(&mut for_errored, || 0) {
            self.tell(side, life, undelivered.number, Told::Errored(undelivered));
        }
        self.tickets[side] = [for_event, for_errored];
        for undelivered in end.link.take_undelivered() {
            if undelivered.kind == Kind::Cast {
                self.tell(side, life, undelivered.number, Told::HandedBack(undelivered));
            }
        }
        let Self { casts, index, awaited, .. } = self;
        awaited.retain(|key| {
            let told = if (key.0, key.1) == (side, life) { end.link.poll_outcome(key.2, || 0) } else { None };
            let is_told = told.is_some();
            casts[index[key]].told.extend(told.map(Told::Outcome));
            !is_told
        });
    }
}

impl Given {
    /// A copy without bodies, for messages.
    pub(crate) fn without_bodies(&self) -> Self {
        let mut given = self.clone();
        given.body.truncate(8);
        for told in &mut given.told {
            if let Told::Outcome(Err(back)) | Told::Errored(back) | Told::HandedBack(back) = told {
                back.body = back.body[..back.body.len().min(8)].to_vec().into();
            }
        }
        given
    }

    /// The outcome, from all reports: `None` if there were none, which is an outcome only for a cast whose
    /// sender wants failures only.
    ///
    /// # Panics
    /// If the outcome was reported twice or in the wrong place, or a returned message differs from the cast
    /// one.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let Self { wants, told, .. } = self;
        for told in told {
            if let Told::Outcome(Err(back)) | Told::Errored(back) | Told::HandedBack(back) = told {
                let given = (Kind::Cast, self.number, self.method);
                assert_eq!((back.kind, back.number, back.method), given, "handed back as another");
                assert!(back.body[..] == self.body[..], "damaged: {:?}", self.without_bodies());
            }
        }
        match (wants, &told[..]) {
            (_, []) => None,
            (Wants::Outcome, [Told::Outcome(Ok(outcome))])
            | (Wants::Event, [Told::Ended(outcome)])
            | (Wants::Failures | Wants::Event, [Told::Failed(outcome @ Outcome::Dropped)]) => Some(*outcome),
            (Wants::Outcome, [Told::Outcome(Err(back))])
            | (Wants::Failures | Wants::Event, [Told::HandedBack(back)]) => Some(back.outcome),
            (
                Wants::Failures | Wants::Event,
                [Told::Failed(outcome), Told::Errored(back) | Told::HandedBack(back)],
            ) => {
                assert_eq!(*outcome, back.outcome, "{:?}", self.without_bodies());
                Some(*outcome)
            }
            _ => panic!("not one outcome: {:?}", self.without_bodies()),
        }
    }
}
