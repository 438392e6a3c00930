//! Features: capabilities that the two sides of a connection offer each other beyond the version, one bit
//! each.

use core::fmt;

/// A set of features, as a hello carries it. `docs/protocol.md` has the table of the bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features(pub u64);

/// The names of the bits that are used or reserved, in their order.
const NAMES: [&str; 4] = ["sessions", "authentication", "services", "streams"];

impl fmt::Display for Features {
    /// The names of known bits, and the numbers of all bits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for bit in (0..u64::BITS).filter(|bit| self.0 & (1 << bit) != 0) {
            if !first {
                f.write_str(", ")?;
            }
            first = false;
            match NAMES.get(bit as usize) {
                Some(name) => write!(f, "{name} (bit {bit})")?,
                None => write!(f, "bit {bit}")?,
            }
        }
        if first { f.write_str("none") } else { Ok(()) }
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Features({self})")
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::frame::native::{AUTHENTICATION, SERVICES, SESSION, STREAMS};

    #[test]
    fn features_say_their_names_and_bits() {
        assert_eq!(Features(0).to_string(), "none");
        let named = SESSION | AUTHENTICATION | SERVICES | STREAMS;
        let names = "sessions (bit 0), authentication (bit 1), services (bit 2), streams (bit 3)";
        assert_eq!(Features(named).to_string(), names);
        assert_eq!(Features(1 << 63 | 2).to_string(), "authentication (bit 1), bit 63");
    }
}
