//! A proxy that records the bytes on the wire: they never contain plain text.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A text that every body contains, so that it would be found.
pub(crate) const MARK: &[u8; 16] = b"<never in clear>";

/// A body of that size, full of the mark.
pub(crate) fn body(size: usize) -> Vec<u8> {
    MARK.iter().copied().cycle().take(size).collect()
}

/// Carries bytes between its clients and a server, and looks at all of them.
pub(crate) struct Wire {
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    sockets: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    /// Bytes of both ways.
    carried: AtomicUsize,
    /// Records of data that began, of each way.
    records: [AtomicUsize; 2],
    /// The bytes that should not have been there.
    wrong: Mutex<Option<String>>,
    /// Connections are cut after so many bytes of that way.
    cut_after: Mutex<[Option<usize>; 2]>,
}

impl Wire {
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let mut sockets = shared.sockets.lock().expect("not poisoned");
                for (way, from, to) in [(0, &client, &server), (1, &server, &client)] {
                    let (from, to) = (from.try_clone().expect("one"), to.try_clone().expect("one"));
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || shared.carry(from, to, way));
                }
                sockets.retain(|socket| socket.peer_addr().is_ok());
                sockets.extend([client, server]);
            }
        });
        Self { port, state }
    }

    /// By a name.
    pub(crate) fn address(&self) -> String {
        format!("tls://{}:{}", crate::world::NAME, self.port)
    }

    /// Ends every connection. Whether there was one.
    pub(crate) fn cut(&self) -> bool {
        let mut sockets = self.state.sockets.lock().expect("not poisoned");
        let any = !sockets.is_empty();
        for socket in sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        any
    }

    /// Connections end after so many bytes of that way: 0 from the client, 1 from the server.
    pub(crate) fn cut_after(&self, way: usize, bytes: usize) {
        let mut cuts = [None; 2];
        cuts[way] = Some(bytes);
        *self.state.cut_after.lock().expect("not poisoned") = cuts;
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn carried(&self) -> usize {
        self.state.carried.load(Ordering::Relaxed)
    }

    /// The number of encrypted records so far, from the client and from the server.
    pub(crate) fn records(&self) -> [usize; 2] {
        self.state.records.each_ref().map(|records| records.load(Ordering::Relaxed))
    }

    /// Everything that came was TLS, and no text.
    pub(crate) fn assert_secret(&self) {
        let wrong = self.state.wrong.lock().expect("not poisoned").take();
        assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        assert!(self.carried() > 0, "nothing came by");
    }
}

impl State {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, way: usize) {
        let mut seen = Seen::default();
        let mut buf = [0; 16 * 1024];
        let (mut count, limit) = (0, self.cut_after.lock().expect("not poisoned")[way]);
        while let Ok(n @ 1..) = from.read(&mut buf) {
            let n = n.min(limit.map_or(n, |limit| limit - count));
            count += n;
            self.carried.fetch_add(n, Ordering::Relaxed);
            let wrong = seen.look(&buf[..n]);
            self.records[way].fetch_add(std::mem::take(&mut seen.records), Ordering::Relaxed);
            if let Some(wrong) = wrong {
                self.wrong.lock().expect("not poisoned").get_or_insert(wrong);
            }
            if to.write_all(&buf[..n]).is_err() || limit == Some(count) {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
        if limit.is_some() {
            let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
        }
    }
}

/// Follows the records of one way.
#[derive(Default)]
struct Seen {
    header: Vec<u8>,
    left: usize,
    last: Vec<u8>,
    /// Encrypted records that began, and are not counted yet.
    records: usize,
}

impl Seen {
    /// The defect of these bytes, if there is one.
    fn look(&mut self, bytes: &[u8]) -> Option<String> {
        self.last.extend_from_slice(bytes);
        // A piece of the mark that no random bytes would have.
        if self
            .last
            .windows(MARK.len() - 4)
            .any(|window| MARK.windows(MARK.len() - 4).any(|mark| mark == window))
        {
            return Some("text was seen on the wire".into());
        }
        let keep = self.last.len().saturating_sub(MARK.len());
        self.last.drain(..keep);
        for &byte in bytes {
            if self.left > 0 {
                self.left -= 1;
                continue;
            }
            self.header.push(byte);
            if let [kind, major, _, high, low] = self.header[..] {
                if !(20..=23).contains(&kind) || major != 3 {
                    return Some(format!("this is no record: {:?}", self.header));
                }
                self.left = usize::from(u16::from_be_bytes([high, low]));
                self.records += usize::from(kind == 23);
                self.header.clear();
            }
        }
        None
    }
}
