//! A connection that one thread owns and drives.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bowline_core::config::Config;
use bowline_core::error::Disconnect;
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{Role, State, Undelivered};
use bowline_core::time::Instant;
use bowline_driver::ToAddress;
use bowline_driver::error::disconnect;
use bowline_driver::exclusive::{Handler, Owned};
use bowline_driver::runtime::Wire;
use bowline_driver::stream::Stream;
use bowline_driver::{ConnectError, clock};

use crate::socket::{Socket, resolve};

/// The socket's own timeout for a read that waits: nothing that is due is later than that by more.
const READ_SLICE: Duration = Duration::from_millis(100);

/// A connection that one thread owns: no lock, no thread of its own, nothing copied that comes in.
///
/// The fastest way to use a socket, and the barest: whoever owns it queues messages and calls, and
/// [`turn`](Self::turn)s it, which writes, waits, reads, keeps the time (heartbeats, deadlines)
/// and hands over what came. Without turns nothing moves but full batches. It does not connect
/// again: when the connection is over, every call has been told, and what was not sent comes back
/// from [`close`](Self::close).
///
/// ```
/// use bowline_blocking::{CallId, Exclusive, Handler, Server};
///
/// #[derive(Default)]
/// struct Replies(Vec<Vec<u8>>);
///
/// impl Handler for Replies {
///     fn reply(&mut self, _: CallId, body: &[u8]) {
///         self.0.push(body.to_vec());
///     }
/// }
///
/// let server = Server::builder().on_request(|request| Ok(request.into_body())).bind("127.0.0.1:0")?;
/// server.start()?;
/// let mut link = Exclusive::connect(&server.local_addr().to_string())?;
/// let mut replies = Replies::default();
/// for number in 0..10_u8 {
///     link.call(1, &[number])?;
/// }
/// while replies.0.len() < 10 {
///     link.turn(&mut replies, None)?;
/// }
/// link.close(&mut replies);
/// server.shutdown();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Exclusive<F: Framing = Native> {
    owned: Owned<F, Socket>,
    spin: Duration,
    linger: Duration,
}

impl<F: Framing> Deref for Exclusive<F> {
    type Target = Owned<F, Socket>;

    #[inline]
    fn deref(&self) -> &Owned<F, Socket> {
        &self.owned
    }
}

impl<F: Framing> DerefMut for Exclusive<F> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Owned<F, Socket> {
        &mut self.owned
    }
}

impl Exclusive<Native> {
    /// Connects with the default settings and does the handshake.
    ///
    /// # Errors
    /// The address cannot work, or the connection or the handshake failed.
    pub fn connect(address: impl ToAddress) -> Result<Self, ConnectError> {
        Self::connect_with(address, bowline_driver::defaults::default_config())
    }
}

impl<F: Framing> Exclusive<F> {
    /// Connects with other settings or another framing.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with(address: impl ToAddress, config: Config<F>) -> Result<Self, ConnectError> {
        let address = &address.to_address();
        let timeout = config.connect_timeout();
        let mut addresses = resolve(address)?;
        while let Some(address) = addresses.next_address() {
            match Socket::connect(&address, config.sockets(), timeout) {
                Ok(socket) => {
                    let link = Self::new(socket, config, Role::Dialing).map_err(disconnect);
                    let greeted = link.and_then(|mut link| link.greet().map(|()| link));
                    return greeted.map_err(|cause| addresses.failed(Some(address), cause));
                }
                Err(error) => addresses.refused(address, error),
            }
        }
        Err(addresses.into_error())
    }

    /// The accepting end over a stream that was accepted elsewhere; the handshake is done in the first
    /// turns.
    ///
    /// # Errors
    /// The socket does not take the options.
    pub fn accept(stream: impl Into<Stream>, config: Config<F>) -> io::Result<Self> {
        let socket = Socket::adopt(stream.into())?;
        socket.apply(config.sockets())?;
        Self::new(socket, config, Role::Accepting)
    }

    /// The dialing end over a stream that is connected already, with the handshake done: a socket, or what
    /// [`stream`](crate::stream) makes.
    ///
    /// # Errors
    /// The handshake failed.
    pub fn over(stream: impl Into<Stream>, config: Config<F>) -> Result<Self, Disconnect> {
        let socket = Socket::adopt(stream.into()).map_err(disconnect)?;
        socket.apply(config.sockets()).map_err(disconnect)?;
        let mut link = Self::new(socket, config, Role::Dialing).map_err(disconnect)?;
        link.greet()?;
        Ok(link)
    }

    fn new(socket: Socket, config: Config<F>, role: Role) -> io::Result<Self> {
        socket.set_blocking(READ_SLICE)?;
        let (spin, linger) = (config.spin(), config.linger());
        Ok(Self { owned: Owned::new(config, role, socket), spin, linger })
    }

    /// The link itself limits how long that takes.
    fn greet(&mut self) -> Result<(), Disconnect> {
        while self.state() != State::Ready {
            self.turn(&mut (), None)?;
        }
        Ok(())
    }

    /// Writes what waits; waits until something comes, a call is over in another way, or there is
    /// room for what was refused before (for at most `timeout`, for ever without); and hands what
    /// came to `handler`. False: there was nothing of that.
    ///
    /// # Errors
    /// The connection is over; every call has been told.
    pub fn turn(
        &mut self,
        handler: &mut impl Handler,
        timeout: Option<Duration>,
    ) -> Result<bool, Disconnect> {
        let deadline = timeout.map(|timeout| clock::now() + timeout);
        loop {
            let attended = self.owned.attend(handler)?;
            if attended.told {
                return Ok(true);
            }
            let until = deadline.into_iter().chain(attended.until).min();
            if self.wait(handler, attended.written, until)? {
                return Ok(true);
            }
            if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                return Ok(false);
            }
        }
    }

    /// Waits for bytes, for room to write if there is something to, or for the time; reads once.
    fn wait(
        &mut self,
        handler: &mut impl Handler,
        written: bool,
        until: Option<Instant>,
    ) -> Result<bool, Disconnect> {
        if !self.owned.wants_read() {
            self.sleep(false, !written, until)?;
            return Ok(false);
        }
        if !self.spin.is_zero() {
            let began = std::time::Instant::now();
            loop {
                if self.owned.read(handler, Wire::read_now)? {
                    return Ok(true);
                }
                if began.elapsed() >= self.spin {
                    break;
                }
                std::hint::spin_loop();
            }
        }
        let near = until.is_some_and(|until| until.saturating_since(clock::now()) < READ_SLICE);
        if written && !near && self.owned.socket().can_wait() {
            // One call to the system: it waits, and reads.
            return self.owned.read(handler, Socket::read_waiting);
        }
        if self.spin.is_zero() && self.owned.read(handler, Wire::read_now)? {
            return Ok(true);
        }
        self.owned.nothing_now();
        self.sleep(true, !written, until)?;
        self.owned.read(handler, Wire::read_now)
    }

    fn sleep(&self, read: bool, write: bool, until: Option<Instant>) -> Result<(), Disconnect> {
        let timeout = until.map(|until| until.saturating_since(clock::now()));
        self.owned.socket().wait_for(read, write, timeout).map_err(disconnect)
    }

    /// Takes nothing new, finishes what is under way for at most the configured linger, and ends
    /// the connection. The messages that did not leave come back.
    pub fn close(mut self, handler: &mut impl Handler) -> Vec<Undelivered> {
        self.owned.begin_close(self.linger);
        while self.turn(handler, None).is_ok() {}
        self.owned.take_undelivered()
    }
}
