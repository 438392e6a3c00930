//! Bytes in transit.

use std::collections::VecDeque;
use std::time::Duration;

use bowline_core::time::Instant;

/// A small seeded generator (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates a generator; the same seed gives the same numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (0 if there is none).
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.number() % bound }
    }
}

/// The direction of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// From the dialing end to the accepting one.
    ToServer,
    /// From the accepting end to the dialing one.
    ToClient,
}

impl Direction {
    /// The opposite direction.
    #[must_use]
    pub const fn back(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 1,
        }
    }
}

/// The behavior of a network.
#[derive(Clone, Copy, Debug)]
pub struct NetConfig {
    /// Shortest transit time of a byte.
    pub latency: Duration,
    /// Largest additional transit time, chosen at random.
    pub jitter: Duration,
    /// Most bytes that one write accepts; each accepts a random number up to this or, with limited bandwidth,
    /// as many as there is room for.
    pub max_write: usize,
    /// Most bytes that one read returns; each returns a random number up to this.
    pub max_read: usize,
    /// Most bytes in transit in one direction; a write beyond that accepts nothing.
    pub window: usize,
    /// Bandwidth in bytes per second in each direction; `None`: unlimited.
    pub bandwidth: Option<u64>,
    /// Most bytes in the sending system's buffer; a write beyond that accepts nothing.
    pub unsent: usize,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(1),
            jitter: Duration::from_millis(1),
            max_write: 4096,
            max_read: 4096,
            window: 256 * 1024,
            bandwidth: None,
            unsent: 16 * 1024,
        }
    }
}

/// The bytes of one connection, in both directions.
#[derive(Debug)]
pub struct Net {
    config: NetConfig,
    random: Random,
    /// The arrival times and lengths of pieces, by direction, in order.
    pieces: [VecDeque<(Instant, usize)>; 2],
    /// Their bytes.
    in_transit: [VecDeque<u8>; 2],
    /// When the line will have sent its bytes, by direction.
    busy_until: [Instant; 2],
    /// Whether a write waits for the line, by direction.
    blocked: [bool; 2],
    carried: [u64; 2],
    cut: bool,
    /// Whether the connection is silent: written bytes vanish.
    half_open: bool,
    /// The number of carried bytes after which it is cut, by direction.
    cut_at: [Option<u64>; 2],
}

impl Net {
    /// Creates a connection without bytes in transit.
    #[must_use]
    pub fn new(config: NetConfig, seed: u64) -> Self {
        Self {
            config,
            random: Random::new(seed),
            pieces: [VecDeque::new(), VecDeque::new()],
            in_transit: [VecDeque::new(), VecDeque::new()],
            busy_until: [Instant::ZERO; 2],
            blocked: [false; 2],
            carried: [0; 2],
            cut: false,
            half_open: false,
            cut_at: [None; 2],
        }
    }

    /// Accepts some of `bytes`; returns how many. 0: the window is full, or the connection is cut.
    pub fn write(&mut self, now: Instant, direction: Direction, bytes: &[u8]) -> usize {
        let index = direction.index();
        if self.cut {
            return 0;
        }
        if self.half_open {
            return bytes.len();
        }
        let room = self.config.window.saturating_sub(self.in_transit[index].len());
        let limit = bytes.len().min(room).min(self.config.max_write).min(self.line_room(now, index));
        if limit == 0 {
            return 0;
        }
        let mut n = match self.config.bandwidth {
            // The room of the line is random enough.
            Some(_) => limit,
            None => 1 + usize::try_from(self.random.below(limit as u64)).unwrap_or(0),
        };
        if let Some(at) = self.cut_at[index] {
            let left = at.saturating_sub(self.carried[index]);
            n = n.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        if n > 0 {
            let jitter = u64::try_from(self.config.jitter.as_nanos()).unwrap_or(u64::MAX);
            let delay =
                self.config.latency + Duration::from_nanos(self.random.below(jitter.saturating_add(1)));
            let sent = self.send_on_line(now, index, n);
            let arrives = self.pieces[index].back().map_or(Instant::ZERO, |(at, _)| *at).max(sent + delay);
            self.pieces[index].push_back((arrives, n));
            self.in_transit[index].extend(&bytes[..n]);
            self.carried[index] += n as u64;
        }
        if self.cut_at[index].is_some_and(|at| self.carried[index] >= at) {
            self.cut = true;
        }
        n
    }

    fn line_time(&self, bytes: usize) -> Duration {
        let Some(bandwidth) = self.config.bandwidth else { return Duration::ZERO };
        Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / bandwidth.max(1))
    }

    /// How many bytes the line accepts.
    fn line_room(&mut self, now: Instant, index: usize) -> usize {
        let Some(bandwidth) = self.config.bandwidth else { return usize::MAX };
        let waits = self.busy_until[index].saturating_since(now).as_nanos() * u128::from(bandwidth);
        let unsent = usize::try_from(waits / 1_000_000_000).unwrap_or(usize::MAX);
        let room = self.config.unsent.saturating_sub(unsent);
        self.blocked[index] = room == 0;
        room
    }

    /// When the line will have sent these bytes.
    fn send_on_line(&mut self, now: Instant, index: usize, bytes: usize) -> Instant {
        let sent = self.busy_until[index].max(now) + self.line_time(bytes);
        self.busy_until[index] = sent;
        sent
    }

    /// Reads some of the bytes that have arrived; returns how many.
    pub fn read(&mut self, now: Instant, direction: Direction, into: &mut [u8]) -> usize {
        let index = direction.index();
        let Some((arrives, piece)) = self.pieces[index].front_mut() else { return 0 };
        if *arrives > now || self.half_open {
            return 0;
        }
        let limit = (*piece).min(into.len()).min(self.config.max_read);
        let n = 1 + usize::try_from(self.random.below(limit as u64)).unwrap_or(0);
        *piece -= n;
        if *piece == 0 {
            self.pieces[index].pop_front();
        }
        let bytes = &mut self.in_transit[index];
        let (first, second) = bytes.as_slices();
        let split = first.len().min(n);
        into[..split].copy_from_slice(&first[..split]);
        into[split..n].copy_from_slice(&second[..n - split]);
        bytes.drain(..n);
        n
    }

    /// When the next piece arrives after `now`, or the line has room for a refused write, in either
    /// direction. Pieces that have arrived by then do not count: they wait for a reader, which may never
    /// read.
    #[must_use]
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        if self.half_open {
            return None;
        }
        let arrivals = self.pieces.iter().filter_map(|pieces| pieces.front().map(|(at, _)| *at));
        let lines = self.busy_until.iter().zip(self.blocked).filter_map(|(busy, blocked)| {
            // A waiting writer is woken when a quarter of the buffer is free.
            let full = self.line_time(self.config.unsent * 3 / 4);
            blocked.then(|| Instant::from_nanos(busy.as_nanos().saturating_sub(full.as_nanos() as u64)))
        });
        arrivals.chain(lines).filter(|at| *at > now).min()
    }

    /// Resets the connection; bytes in transit may still be read before the end.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// Resets the connection after that many bytes were carried in that direction.
    pub fn cut_at(&mut self, direction: Direction, bytes: u64) {
        self.cut_at[direction.index()] = Some(bytes);
    }

    /// From now on no byte arrives, and neither side is informed.
    pub fn fall_silent(&mut self) {
        self.half_open = true;
    }

    /// Whether only the end of the stream is left to read in that direction.
    #[must_use]
    pub fn is_over(&self, direction: Direction) -> bool {
        self.cut && !self.half_open && self.pieces[direction.index()].is_empty()
    }

    /// Number of bytes carried in that direction.
    #[must_use]
    pub fn carried(&self, direction: Direction) -> u64 {
        self.carried[direction.index()]
    }
}
