//! The parts of a message that is passed on unchanged.

use bowline_core::body::Payload;
use bowline_zmtp::message::Message;

/// The number of parts that need no allocation.
const FEW: usize = 8;
/// Parts of this size or more are kept by reference and not copied.
const SHARED: usize = 16 * 1024;

/// Calls `f` with the parts of a message as a socket sends them: small ones are borrowed, large ones shared.
pub(crate) fn with_parts<T>(message: &Message, f: impl FnOnce(&[Payload<'_>]) -> T) -> T {
    const NONE: Payload<'_> = Payload::Borrowed(&[]);
    let parts = message.iter().map(|part| match part.len() {
        SHARED.. => Payload::Owned(part.clone().into_bytes()),
        _ => Payload::from(part),
    });
    if message.len() > FEW {
        return f(&parts.collect::<Vec<_>>());
    }
    let mut few = [NONE; FEW];
    few.iter_mut().zip(parts).for_each(|(slot, part)| *slot = part);
    f(&few[..message.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_parts_are_shared_whatever_their_number() {
        for count in [0, 1, FEW, FEW + 1] {
            let message: Message = (0..count).map(|at| vec![7; at * SHARED / 2]).collect();
            with_parts(&message, |parts| {
                assert_eq!(parts.len(), count);
                for (part, body) in parts.iter().zip(message.iter()) {
                    assert_eq!(part.as_slice(), body.as_slice());
                    let large = body.len() >= SHARED;
                    assert_eq!(matches!(part, Payload::Owned(_)), large);
                    assert!(!large || part.as_slice().as_ptr() == body.as_slice().as_ptr());
                }
            });
        }
    }
}
