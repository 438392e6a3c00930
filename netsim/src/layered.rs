//! The driver's socket with a layer over it, such as TLS, over a simulated network.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::error::Disconnect;
use bowline_core::layer::Layer;
use bowline_core::time::Instant;
use bowline_driver::error::disconnect;
use bowline_driver::layered::Layered;
use bowline_driver::runtime::Wire;
use bowline_driver::shared::WriteNow;

use crate::conduit::Conduit;
use crate::net::{Direction, Net, NetConfig};

/// A [`Conduit`] that is the driver's [`Layered`] socket with a layer: what it says of written bytes is what the driver says
/// on a socket of the system.
#[derive(Debug)]
pub struct LayeredConduit {
    socket: Layered<NetSocket>,
    lent: Arc<Lent>,
}

/// The network, while the socket is used.
#[derive(Debug, Default)]
struct Lent {
    net: Mutex<Option<(Net, Instant)>>,
    moved: AtomicBool,
}

impl Lent {
    fn lock(&self) -> MutexGuard<'_, Option<(Net, Instant)>> {
        self.net.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket of the driver whose bytes the simulated network carries.
#[derive(Debug)]
struct NetSocket {
    lent: Arc<Lent>,
    out: Direction,
}

impl LayeredConduit {
    /// Of an end that writes in that direction, with a layer whose handshake is not done.
    #[must_use]
    pub fn new(out: Direction, layer: Box<dyn Layer>) -> Self {
        let lent = Arc::new(Lent::default());
        let socket = NetSocket { lent: Arc::clone(&lent), out };
        Self { socket: Layered::with(socket, layer), lent }
    }

    /// Uses the socket. `None`: it would have to wait.
    fn with<T>(
        &self,
        now: Instant,
        net: &mut Net,
        f: impl FnOnce(&Layered<NetSocket>) -> io::Result<T>,
    ) -> Result<Option<T>, Disconnect> {
        let placeholder = Net::new(NetConfig::default(), 0);
        *self.lent.lock() = Some((std::mem::replace(net, placeholder), now));
        let result = f(&self.socket);
        if let Some((lent, _)) = self.lent.lock().take() {
            *net = lent;
        }
        match result {
            Ok(done) => Ok(Some(done)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(disconnect(error)),
        }
    }
}

impl Conduit for LayeredConduit {
    fn work(&mut self, now: Instant, net: &mut Net) -> Result<(), Disconnect> {
        self.with(now, net, Layered::handshake).map(drop)
    }

    fn write(&mut self, now: Instant, net: &mut Net, bytes: &[&[u8]]) -> Result<usize, Disconnect> {
        let slices: Vec<IoSlice<'_>> = bytes.iter().map(|piece| IoSlice::new(piece)).collect();
        self.with(now, net, |socket| socket.write_now(&slices)).map(Option::unwrap_or_default)
    }

    fn read(&mut self, now: Instant, net: &mut Net, into: &mut [u8]) -> Result<Option<usize>, Disconnect> {
        self.with(now, net, |socket| socket.read_now(into))
    }

    fn held(&self) -> usize {
        self.socket.held()
    }

    fn take_moved(&mut self) -> bool {
        self.lent.moved.swap(false, Ordering::Relaxed)
    }
}

impl NetSocket {
    /// Uses the network, and takes note of bytes that moved. Without one, as without bytes, there is nothing to do now.
    fn with(&self, f: impl FnOnce(&mut Net, Instant) -> Option<usize>) -> io::Result<usize> {
        let mut lent = self.lent.lock();
        let count = lent.as_mut().and_then(|(net, now)| f(net, *now)).ok_or(io::ErrorKind::WouldBlock)?;
        self.lent.moved.fetch_or(count > 0, Ordering::Relaxed);
        Ok(count)
    }
}

impl WriteNow for NetSocket {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.with(|net, now| Some(net.write(now, self.out, first?)).filter(|count| *count > 0))
    }
}

impl Wire for NetSocket {
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        let back = self.out.back();
        self.with(|net, now| match net.read(now, back, buf) {
            0 => net.is_over(back).then_some(0),
            count => Some(count),
        })
    }

    fn apply(&self, _: &SocketOptions) -> io::Result<()> {
        Ok(())
    }

    /// The end of a simulated connection is the network's.
    fn shutdown_write(&self) -> io::Result<()> {
        Ok(())
    }

    fn peer_addr(&self) -> io::Result<Address> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
