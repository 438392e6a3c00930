//! Authentication (RFC 27): a handler on a separate thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::{Context, Kind};

/// A request of libzmq.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Which of its sockets asks.
    pub domain: String,
    /// The identity that the peer claims.
    pub routing_id: Vec<u8>,
    /// NULL, PLAIN or CURVE.
    pub mechanism: String,
    /// A name and a password, a key, or nothing.
    pub credentials: Vec<Vec<u8>>,
}

/// The handler of a context. It ends when it is dropped.
#[derive(Debug)]
pub struct Zap {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Zap {
    /// Answers with what `decide` says: a status, 200 lets in, as the user of that id. (libzmq 4.3.5 closes the
    /// connections of a REQ whose peers have an id: it takes the note about it for a message.)
    ///
    /// # Panics
    /// If the context has one.
    pub fn new(
        context: &Context,
        user_id: &'static str,
        decide: impl Fn(&Request) -> u16 + Send + 'static,
    ) -> Self {
        let socket = context.socket(Kind::Rep);
        socket.bind("inproc://zeromq.zap.01").expect("the only one");
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let Ok(asked) = socket.recv_within(20) else { continue };
                let [version, id, domain, _address, routing_id, mechanism, credentials @ ..] = &asked[..]
                else {
                    panic!("not a question: {asked:?}");
                };
                let text = |of: &Vec<u8>| String::from_utf8_lossy(of).into_owned();
                let status = decide(&Request {
                    domain: text(domain),
                    routing_id: routing_id.clone(),
                    mechanism: text(mechanism),
                    credentials: credentials.to_vec(),
                });
                let status = status.to_string();
                let user_id = user_id.as_bytes();
                let answer: [&[u8]; 6] = [version, id, status.as_bytes(), b"as decided", user_id, b""];
                socket.send(&answer).expect("its turn");
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Zap {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
