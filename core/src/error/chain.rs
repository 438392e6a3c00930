//! An error and its causes in one line.

use core::error::Error;
use core::fmt;

/// Prints an error and, behind colons, what caused it, and what caused that.
///
/// Every error of Bowline says its own level and leaves the rest to [`Error::source`], so that nothing
/// is printed twice by those who walk along the sources. This is for those who want one line.
///
/// ```
/// use bowline_core::error::{Chain, Disconnect, TransportError, TransportKind};
///
/// let error = TransportError::new(TransportKind::Reset, "os error 104");
/// assert_eq!(Chain(&Disconnect::from(error)).to_string(), "the peer reset the connection: os error 104");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
