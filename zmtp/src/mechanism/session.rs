//! What seals and opens frames once both sides of CURVE know each other.

#[cfg(not(feature = "curve"))]
pub(crate) use without::Session;

#[cfg(feature = "curve")]
pub(crate) use super::curve::Session;

/// What a box is longer than what is in it, with the name of the command, the nonce and the flags.
pub(crate) const SEALED: usize = 8 + 8 + 16 + 1;

/// What the flags of a frame say that was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Opened {
    /// More frames of the message follow.
    pub(crate) more: bool,
    /// It is a command.
    pub(crate) command: bool,
}

#[cfg(not(feature = "curve"))]
mod without {
    use alloc::vec::Vec;

    use super::Opened;
    use crate::error::ZmtpError;

    /// There is none without the feature `curve`.
    #[derive(Debug)]
    pub(crate) enum Session {}

    impl Session {
        pub(crate) fn seal(&mut self, _: bool, _: bool, _: &[u8], _: &mut Vec<u8>) {
            match *self {}
        }

        pub(crate) fn open(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<Opened, ZmtpError> {
            match *self {}
        }
    }
}
