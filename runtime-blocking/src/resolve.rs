//! Names looked up on threads that are there for it: the system's own way to look one up waits.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};

use bowline_driver::error::no_thread;
use bowline_driver::handler_queue::Outlook;
use bowline_driver::sync::Mutex;

use crate::handler_pool::{HandlerPool, Turn, Work};

/// Names looked up at a time; others wait for their turn, within the time that dialing has.
const LOOKUPS: usize = 8;

type Found = io::Result<Vec<SocketAddr>>;

#[derive(Debug, Default)]
struct Lookup {
    state: Mutex<(Option<Found>, Option<Waker>)>,
}

/// Addresses that a name stands for. Dropped before its turn, it is not looked up at all.
#[derive(Debug)]
pub(crate) struct Resolving(Arc<Lookup>);

/// A name, and who asks.
struct Asked {
    host: String,
    port: u16,
    lookup: Weak<Lookup>,
}

impl Work for Asked {
    fn outlook(&self) -> Option<Outlook> {
        // Some addresses: nothing to count.
        (self.lookup.strong_count() > 0).then_some(Outlook { bytes: 0, spare: usize::MAX })
    }

    fn run(self: Box<Self>, turn: Turn) {
        let found = match turn {
            Turn::Work => (self.host.as_str(), self.port).to_socket_addrs().map(Iterator::collect),
            Turn::NoThread => Err(no_thread(io::Error::from(io::ErrorKind::WouldBlock))),
            Turn::Unwanted => return,
        };
        if let Some(lookup) = self.lookup.upgrade() {
            let mut state = lookup.state.lock();
            state.0 = Some(found);
            let waker = state.1.take();
            drop(state);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

/// Looks a name up.
pub(crate) fn resolve(host: String, port: u16) -> Resolving {
    static POOL: OnceLock<Arc<HandlerPool>> = OnceLock::new();
    let lookup = Arc::new(Lookup::default());
    let pool = POOL.get_or_init(|| HandlerPool::named("bowline-resolve", LOOKUPS));
    pool.run(0, Box::new(Asked { host, port, lookup: Arc::downgrade(&lookup) }));
    Resolving(lookup)
}

impl Future for Resolving {
    type Output = Found;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Found> {
        let mut state = self.0.state.lock();
        match state.0.take() {
            Some(found) => Poll::Ready(found),
            None => {
                state.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
