//! Encryption and decryption of frames after a CURVE handshake.

#[cfg(not(feature = "curve"))]
pub(crate) use without::Session;

#[cfg(feature = "curve")]
pub(crate) use super::curve::Session;

/// Overhead of an encrypted frame, bytes: the command's name, the nonce, the authentication tag and the
/// flags.
pub(crate) const SEALED: usize = 8 + 8 + 16 + 1;

/// The flags of a decrypted frame.
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

    /// Without the feature `curve` there is no encrypted session.
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
