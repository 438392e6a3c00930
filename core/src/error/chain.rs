//! An error and its causes in one line.

use core::error::Error;
use core::fmt;

/// Displays an error followed by its sources, separated by colons.
///
/// The message of every error of Bowline describes its own level only; [`Error::source`] has the rest. So
/// code that prints the chain of sources prints nothing twice, and this type prints it in one line.
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
