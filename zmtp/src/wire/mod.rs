//! The wire format of ZMTP: greetings, frames, commands and their properties.

use core::fmt;

mod command;
mod frame;
mod greeting;
mod metadata;

pub use command::{Command, ERROR_MISSPELT, Ping, put_command};
pub use frame::{COMMAND, Frame, LONG, MORE, put_header};
pub use greeting::{Greeted, Greeting, MECHANISM, SIGNATURE, rest_of_greeting, signature};
pub use metadata::{Metadata, put_property};

/// The version of a connection: the older of both sides' versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// ZMTP 1.0: libzmq 2.
    V1,
    /// ZMTP 2.0: libzmq 3.
    V2,
    /// ZMTP 3.0: libzmq 4.0 to 4.2.
    V3_0,
    /// ZMTP 3.1: libzmq 4.3.
    V3_1,
}

impl Version {
    /// Whether it has commands, and therefore mechanisms and heartbeats.
    #[must_use]
    pub fn has_commands(self) -> bool {
        self >= Self::V3_0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "ZMTP 1.0",
            Self::V2 => "ZMTP 2.0",
            Self::V3_0 => "ZMTP 3.0",
            Self::V3_1 => "ZMTP 3.1",
        })
    }
}
