//! How much of each class the peer may send, and what was received.

use alloc::boxed::Box;

use crate::frame::Class;
use crate::frame::native::Credit;

/// The bytes read of the bulk class are reported to the peer at least once per this many bytes.
const SAY_SEEN_EVERY: u64 = 64 * 1024;

/// The received messages of one class. All numbers except `queued` are counted from the beginning of the
/// connection.
#[derive(Debug)]
pub(super) struct Inflow {
    window: u32,
    /// The total that may be received.
    limit: u64,
    /// The total received.
    received: u64,
    /// The cost of messages that the application has not taken yet: in the receive queue, which outlives
    /// connections, and in the reader.
    queued: u64,
    /// The part of it in the reader. Allocated while there is one, and freed at a quiet heartbeat.
    held: Option<Box<Held>>,
    /// Bytes read, and how many of them the peer knows of.
    seen: u64,
    said: u64,
    /// The peer may not have received the last grant.
    repeat: bool,
    /// The cost released since the last check whether a grant is due.
    released: u64,
}

/// Bytes that the reader received since its last report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrived {
    pub(super) cost: u64,
    pub(super) bytes: u64,
}

/// The cost of everything that the reader holds now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Held {
    /// The cost of complete messages.
    pub(super) parked: u64,
    /// The cost of the message being assembled: received, and missing.
    pub(super) assembling: u64,
    pub(super) missing: u64,
    /// The received bytes of an incomplete answer, which costs nothing.
    pub(super) answer: u64,
}

impl Held {
    const NOTHING: Self = Self { parked: 0, assembling: 0, missing: 0, answer: 0 };
}

impl Inflow {
    /// The cost of messages in the receive queue.
    pub(super) fn queued(&self) -> u64 {
        self.queued
    }

    /// A connection (or session) begins, with this grant.
    pub(super) fn open(&mut self, window: u32, granted: u32) {
        *self = Self { queued: self.queued, ..Self::new(window, granted) };
    }

    fn window(&self) -> u64 {
        u64::from(self.window)
    }

    /// A session continues: the last grant is sent again.
    pub(super) fn repeat(&mut self) {
        self.repeat = true;
    }

    pub(super) fn note(&mut self, arrived: &Arrived, held: &Held) {
        self.received += arrived.cost;
        self.seen += arrived.bytes;
        match &mut self.held {
            Some(kept) => **kept = *held,
            None if *held == Held::NOTHING => {}
            None => self.held = Some(Box::new(*held)),
        }
    }

    const fn new(window: u32, granted: u32) -> Self {
        Self {
            window,
            limit: granted as u64,
            received: 0,
            queued: 0,
            held: None,
            seen: 0,
            said: 0,
            repeat: false,
            released: 0,
        }
    }

    /// Whether nothing was received yet, and the peer knows that it has the whole window.
    fn is_unused(&self, granted: u32) -> bool {
        let received = self.received != 0 || self.queued != 0 || self.seen != 0;
        let is_whole = self.limit == self.window() && self.limit == u64::from(granted);
        !received && self.held.is_none() && !self.repeat && is_whole
    }

    fn held(&self) -> &Held {
        self.held.as_deref().unwrap_or(&Held::NOTHING)
    }

    /// Frees the memory for what the reader held.
    pub(super) fn trim(&mut self) {
        self.held.take_if(|held| **held == Held::NOTHING);
    }

    /// The cost that may still be received.
    pub(super) fn allowance(&self) -> u64 {
        self.limit - self.received.min(self.limit)
    }

    /// A message is kept.
    pub(super) fn keep(&mut self, cost: u64) {
        self.queued += cost;
    }

    /// A message was taken. Returns whether to check if a grant is due: once per small part of the window,
    /// and after the last message, is enough.
    #[inline]
    pub(super) fn release(&mut self, cost: u64) -> bool {
        self.queued = self.queued.saturating_sub(cost);
        self.released += cost;
        let asks = self.queued == 0 || self.released >= u64::from(self.window / 32);
        if asks {
            self.released = 0;
        }
        asks
    }

    /// Whether messages that the application has not taken use three quarters of the window.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.queued > self.window() / 4 * 3
    }

    /// Whether more than the window is kept, so that even a message under way has to wait.
    pub(super) fn is_overfull(&self) -> bool {
        self.queued + self.held().parked > self.window()
    }

    /// The cost of everything that the reader holds, including incomplete answers.
    pub(super) fn with_reader(&self) -> u64 {
        self.held().parked + self.assembling()
    }

    /// The received part of incomplete messages and answers.
    pub(super) fn assembling(&self) -> u64 {
        self.held().assembling + self.held().answer
    }

    /// The cost of kept messages.
    pub(super) fn kept(&self) -> u64 {
        self.queued + self.held().parked + self.held().assembling
    }

    /// The limit that can be granted now. A message that was begun may be completed whatever its length, so
    /// that a window smaller than a message cannot block it forever.
    fn offer(&self) -> u64 {
        let mut open = self.window().saturating_sub(self.kept());
        if !self.is_overfull() {
            open = open.max(self.held().missing.min(self.window()));
        }
        self.limit.max(self.received + open)
    }

    /// Whether a credit frame must be sent: because half a window more can be granted, because a message that was
    /// begun needs more to be completed, or because of the bytes that were read. For the normal class the bytes read
    /// are sent only together with a grant: the peer does not need them earlier, and a frame of their own would cost
    /// both sides a system call.
    pub(super) fn is_due(&self, class: Class) -> bool {
        let gain = self.offer() - self.limit;
        let lacking = self.held().missing.saturating_sub(self.allowance());
        let grant = gain >= self.window() / 2 || (lacking > 0 && gain >= lacking);
        let tells_seen = class == Class::Bulk && self.seen - self.said >= SAY_SEEN_EVERY;
        (gain > 0 && grant) || tells_seen || self.repeat
    }

    pub(super) fn say(&mut self, class: Class) -> Credit {
        self.limit = self.offer();
        self.said = self.seen;
        self.repeat = false;
        Credit::new(class, self.limit, self.seen)
    }
}

/// The received messages of both classes. Those of the bulk class are counted from the first one on: most links never
/// receive any.
#[derive(Debug)]
pub(super) struct Inflows {
    normal: Inflow,
    bulk: Option<Box<Inflow>>,
    /// Of the present connection or session.
    bulk_window: u32,
    bulk_granted: u32,
}

impl Inflows {
    pub(super) const fn new() -> Self {
        Self { normal: Inflow::new(0, 0), bulk: None, bulk_window: 0, bulk_granted: 0 }
    }

    /// The messages of a class, if there were any.
    #[inline]
    pub(super) fn find(&self, class: Class) -> Option<&Inflow> {
        if class == Class::Bulk { self.bulk.as_deref() } else { Some(&self.normal) }
    }

    /// The messages of a class, if there were any.
    #[inline]
    pub(super) fn find_mut(&mut self, class: Class) -> Option<&mut Inflow> {
        if class == Class::Bulk { self.bulk.as_deref_mut() } else { Some(&mut self.normal) }
    }

    /// The messages of a class, which there are now.
    #[inline]
    pub(super) fn get_mut(&mut self, class: Class) -> &mut Inflow {
        if class == Class::Bulk { self.bulk_mut() } else { &mut self.normal }
    }

    #[inline(never)]
    fn bulk_mut(&mut self) -> &mut Inflow {
        let (window, granted) = (self.bulk_window, self.bulk_granted);
        self.bulk.get_or_insert_with(|| Box::new(Inflow::new(window, granted)))
    }

    /// The classes of which there were any messages.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Inflow> {
        [&self.normal].into_iter().chain(self.bulk.as_deref())
    }

    /// Whether the peer must be told of any class.
    #[inline]
    pub(super) fn any_due(&self) -> bool {
        self.normal.is_due(Class::Normal) || self.bulk.as_ref().is_some_and(|bulk| bulk.is_due(Class::Bulk))
    }

    /// The cost that may still be received, by class.
    pub(super) fn allowances(&self) -> [u64; 2] {
        let bulk = match &self.bulk {
            Some(bulk) => bulk.allowance(),
            None => u64::from(self.bulk_granted),
        };
        [self.normal.allowance(), bulk]
    }

    /// A connection (or session) begins, with these grants.
    pub(super) fn open(&mut self, windows: [u32; 2], granted: [u32; 2]) {
        self.normal.open(windows[0], granted[0]);
        (self.bulk_window, self.bulk_granted) = (windows[1], granted[1]);
        // A smaller grant grows again with the messages that were kept.
        if self.bulk.is_some() || granted[1] < windows[1] {
            self.bulk_mut().open(windows[1], granted[1]);
        }
    }

    /// A session continues: the last grants are sent again.
    pub(super) fn repeat(&mut self) {
        self.normal.repeat();
        self.bulk_mut().repeat();
    }

    /// What the reader received.
    pub(super) fn note(&mut self, arrived: &[Arrived; 2], held: &[Held; 2]) {
        self.normal.note(&arrived[0], &held[0]);
        if self.bulk.is_some() || arrived[1].bytes > 0 || held[1] != Held::NOTHING {
            self.bulk_mut().note(&arrived[1], &held[1]);
        }
    }

    /// Frees memory that is not needed now.
    pub(super) fn trim(&mut self) {
        self.normal.trim();
        if let Some(bulk) = &mut self.bulk {
            bulk.trim();
        }
        let granted = self.bulk_granted;
        self.bulk.take_if(|bulk| bulk.is_unused(granted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: Arrived = Arrived { cost: 40, bytes: 40 };
    const NONE: Arrived = Arrived { cost: 0, bytes: 0 };

    #[test]
    fn bulk_messages_are_counted_from_the_first_one_on() {
        let mut inflows = Inflows::new();
        inflows.open([100, 200], [100, 200]);
        inflows.note(&[BYTES, NONE], &[Held::NOTHING; 2]);
        assert!(inflows.bulk.is_none());
        assert_eq!(inflows.allowances(), [60, 200]);
        inflows.note(&[NONE, BYTES], &[Held::NOTHING; 2]);
        assert_eq!(inflows.allowances(), [60, 160]);
        inflows.trim();
        assert_eq!(inflows.allowances(), [60, 160], "what was received stays counted");
    }

    #[test]
    fn a_grant_below_the_window_grows_without_a_message() {
        let mut inflows = Inflows::new();
        inflows.open([100, 200], [100, 50]);
        inflows.trim();
        assert!(inflows.any_due());
        let bulk = inflows.find_mut(Class::Bulk).expect("the grant is below the window");
        bulk.say(Class::Bulk);
        inflows.trim();
        assert!(!inflows.any_due());
        assert_eq!(inflows.allowances(), [100, 200]);
    }

    #[test]
    fn the_last_grant_is_repeated_once() {
        let mut inflows = Inflows::new();
        inflows.open([100, 200], [100, 200]);
        inflows.repeat();
        inflows.trim();
        for class in [Class::Normal, Class::Bulk] {
            let inflow = inflows.find_mut(class).expect("it has to be repeated");
            assert!(inflow.is_due(class));
            inflow.say(class);
        }
        inflows.trim();
        assert!(inflows.bulk.is_none() && !inflows.any_due());
        assert_eq!(inflows.allowances(), [100, 200]);
    }
}
