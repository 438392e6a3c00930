//! Errors of protocols that the core does not know.

use alloc::string::ToString;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;

/// The error of another protocol than the link's, of any type.
///
/// It displays as that error does, and has the same source. Two values are equal if they display the same
/// text.
///
/// ```
/// use bowline_core::error::Disconnect;
///
/// #[derive(Debug, PartialEq)]
/// struct UnknownMechanism(String);
///
/// impl core::fmt::Display for UnknownMechanism {
///     fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
///         write!(f, "unknown mechanism {}", self.0)
///     }
/// }
///
/// impl core::error::Error for UnknownMechanism {}
///
/// let cause = Disconnect::foreign(UnknownMechanism("MAGIC".into()));
/// assert_eq!(cause.to_string(), "unknown mechanism MAGIC");
/// let Disconnect::Foreign(error) = cause else { panic!() };
/// assert_eq!(error.downcast_ref(), Some(&UnknownMechanism("MAGIC".into())));
/// ```
#[derive(Clone)]
pub struct ForeignError(Arc<dyn Error + Send + Sync>);

impl ForeignError {
    /// Wraps `error`.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    /// The error, if it has this type.
    #[must_use]
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for ForeignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ForeignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for ForeignError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl PartialEq for ForeignError {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.to_string() == other.to_string()
    }
}

impl Eq for ForeignError {}
