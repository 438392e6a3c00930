//! What stands between one end of a connection and the network.

use std::fmt;

use bowline_core::error::Disconnect;
use bowline_core::time::Instant;

use crate::net::Net;

/// What stands between one end of a connection and the network, as TLS does: the end reads from and writes to it, and it
/// reads from and writes to the network. See [`Pair::through`](crate::Pair::through).
pub trait Conduit: fmt::Debug + Send {
    /// Does what it can without its end: a handshake, bytes that wait. Called first in each step.
    ///
    /// # Errors
    /// The connection is over.
    fn work(&mut self, now: Instant, net: &mut Net) -> Result<(), Disconnect>;

    /// Takes bytes of the end, and says how many of them count as written. 0: none now. The end lends the rest again.
    ///
    /// # Errors
    /// The connection is over.
    fn write(&mut self, now: Instant, net: &mut Net, bytes: &[&[u8]]) -> Result<usize, Disconnect>;

    /// Gives the end bytes, and says how many. 0: the stream has ended. `None`: there are none now.
    ///
    /// # Errors
    /// The connection is over.
    fn read(&mut self, now: Instant, net: &mut Net, into: &mut [u8]) -> Result<Option<usize>, Disconnect>;

    /// Bytes of memory that it holds, which the end counts as its own. By default none.
    fn held(&self) -> usize {
        0
    }

    /// Whether bytes went to or came from the network since this was asked last.
    fn take_moved(&mut self) -> bool;
}

/// Makes the conduit of an end that writes in that direction, for each of its connections.
pub type MakeConduit = fn(crate::net::Direction) -> Box<dyn Conduit>;
