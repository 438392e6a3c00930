//! Errors as failures: what `?` in a handler makes of them. The caller sees the error's own words and
//! those of its causes, with [`Status::FAILED`].

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::ToString;

use super::{
    CallError, CastError, CastRefusal, Chain, ConfigError, Disconnect, EncodeError, Failure, Status,
    Undeliverable,
};

macro_rules! failed {
    ($($error:ty),* $(,)?) => {
        $(
            impl From<$error> for Failure {
                fn from(error: $error) -> Self {
                    Self::new(Status::FAILED, error.to_string())
                }
            }
        )*
    };
}

failed!(
    core::array::TryFromSliceError,
    core::char::CharTryFromError,
    core::char::ParseCharError,
    core::fmt::Error,
    core::net::AddrParseError,
    core::num::ParseFloatError,
    core::num::ParseIntError,
    core::num::TryFromIntError,
    core::str::ParseBoolError,
    core::str::Utf8Error,
    alloc::string::FromUtf8Error,
    Cow<'_, str>,
);

/// The same for errors whose causes are in their sources.
macro_rules! failed_with_causes {
    ($($error:ty),* $(,)?) => {
        $(
            impl From<$error> for Failure {
                fn from(error: $error) -> Self {
                    Self::new(Status::FAILED, Chain(&error).to_string())
                }
            }
        )*
    };
}

failed_with_causes!(CastError, CastRefusal, ConfigError, Disconnect, EncodeError, Undeliverable);

impl From<Box<dyn core::error::Error>> for Failure {
    fn from(error: Box<dyn core::error::Error>) -> Self {
        Self::new(Status::FAILED, Chain(&*error).to_string())
    }
}

impl From<Box<dyn core::error::Error + Send + Sync>> for Failure {
    fn from(error: Box<dyn core::error::Error + Send + Sync>) -> Self {
        Self::new(Status::FAILED, Chain(&*error).to_string())
    }
}

#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "std")]
failed_with_causes!(std::io::Error);

#[cfg(feature = "std")]
failed!(
    std::env::VarError,
    std::sync::mpsc::RecvError,
    std::sync::mpsc::RecvTimeoutError,
    std::time::SystemTimeError,
);

impl From<CallError> for Failure {
    /// A failure that another peer answered with is passed on unchanged.
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(failure) => failure,
            other => Self::new(Status::FAILED, Chain(&other).to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_mark_makes_failures_of_errors() {
        fn handler(text: &[u8]) -> Result<u32, Failure> {
            let text = core::str::from_utf8(text)?;
            let (number, _) = text.split_once(' ').ok_or("no second word")?;
            Ok(number.parse::<u32>()?)
        }
        assert_eq!(handler(b"7 x"), Ok(7));
        let failed = |text: &[u8]| handler(text).unwrap_err();
        assert_eq!(failed(b"7"), Failure::new(Status::FAILED, "no second word"));
        assert_eq!(failed(b"x 7"), Failure::new(Status::FAILED, "invalid digit found in string"));
        assert_eq!(failed(b"\xff").status, Status::FAILED);
        let busy = Failure::new(Status::BUSY, "later");
        assert_eq!(Failure::from(CallError::Failed(busy.clone())), busy);
        #[cfg(feature = "std")]
        assert_eq!(Failure::from(std::io::Error::other("disk")), Failure::new(Status::FAILED, "disk"));
    }

    #[test]
    fn what_is_boxed_says_its_causes_as_well() {
        use super::super::{TransportError, TransportKind};
        type Boxed = Box<dyn core::error::Error>;
        type BoxedSend = Box<dyn core::error::Error + Send + Sync>;
        let error = || CallError::NeverSent(TransportError::new(TransportKind::Reset, "os error 104").into());
        let failure = Failure::from(error());
        let text = core::str::from_utf8(&failure.body).unwrap();
        assert!(text.ends_with("the peer reset the connection: os error 104"), "{text}");
        assert_eq!(Failure::from(Boxed::from(error())), failure);
        assert_eq!(Failure::from(BoxedSend::from(error())), failure);
        #[cfg(feature = "std")]
        assert_eq!(Failure::from(std::io::Error::other(error())), failure);
        let words = Boxed::from("no second word");
        assert_eq!(Failure::from(words), Failure::new(Status::FAILED, "no second word"));
    }
}
