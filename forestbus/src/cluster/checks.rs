//! Validation of a topic's bounds.

use super::error::ReplyError;
use crate::protocol::Bounds;

/// Checks the bounds of a log.
pub(super) fn bounds(bounds: Bounds) -> Result<(), ReplyError> {
    let Bounds { first, last, commit } = bounds;
    // The first index of an empty log is one after its last; the commit index may be 0 if it is unknown.
    if first >= 0 && commit >= 0 && last >= first.saturating_sub(1) && commit <= last {
        return Ok(());
    }
    Err(ReplyError::Bounds { first, last, commit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_in_order() {
        let of = |first, last, commit| bounds(Bounds { first, last, commit });
        assert!(of(1, 0, 0).is_ok() && of(1, 6, 5).is_ok() && of(5, 4, 0).is_ok() && of(5, 4, 4).is_ok());
        assert!(
            of(5, 3, 0).is_err() && of(1, 2, 3).is_err() && of(1, 2, -1).is_err() && of(-1, 2, 1).is_err()
        );
    }
}
