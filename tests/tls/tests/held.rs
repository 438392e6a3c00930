//! What a layer says that it holds, beside what it holds, by an allocator that counts.
//!
//! `cargo test -p bowline-tls-tests --test held -- --nocapture` prints the figures.

#[path = "../../../tls/tests/common/mod.rs"]
mod certificates;

use bowline_core::config::HANDSHAKE_COST;
use bowline_core::layer::{AcceptLayer, DialLayer, Layer};
use bowline_counting::{Counting, Side, held};
use bowline_tls::{Identity, MAX_HANDSHAKE, TlsClient, TlsServer};
use certificates::{Authority, Says};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What every connection of `rustls` takes, and nothing of its peer's doing.
const OWN: usize = 12 * 1024;

/// The accepting layer of a connection, whose memory is counted.
struct Watched {
    layer: Box<dyn Layer>,
    before: i64,
}

impl Watched {
    fn new(server: &TlsServer) -> Self {
        let before = held(Side::A).bytes;
        let _side = Side::A.enter();
        Self { layer: server.accept().expect("sound"), before }
    }

    /// Gives it bytes as they come from a socket. Returns what it sends.
    fn feed(&mut self, bytes: &[u8], into: &mut [u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for mut piece in bytes.chunks(18 * 1024) {
            while !piece.is_empty() {
                let entered = Side::A.enter();
                let taken = self.layer.receive(piece).expect("a sound peer");
                self.layer.read(into);
                drop(entered);
                piece = &piece[taken..];
                if taken == 0 && into.is_empty() {
                    // It waits until its text is read.
                    return out;
                }
            }
            if self.layer.wants_transmit() {
                // What it sends is not its own any more: the buffer belongs to the connection.
                self.layer.transmit(&mut out);
            }
        }
        out
    }

    /// Checks what it says. Returns what it holds, and what it says.
    fn check(&self, what: &str, own: usize) -> (usize, usize) {
        let bytes = usize::try_from(held(Side::A).bytes - self.before).expect("more than before");
        let says = self.layer.held();
        println!("{what}: holds {bytes} bytes, says {says}");
        assert!(bytes <= own + says, "{what}: holds {bytes} bytes, says {says}");
        (bytes, says)
    }
}

/// The handshake of both, to its end. Returns the dialing layer.
fn shake(server: &mut Watched, client: &TlsClient) -> Box<dyn Layer> {
    let mut layer = client.dial(&"localhost:1".parse().expect("an address")).expect("a name");
    let mut more = true;
    while more {
        let mut out = Vec::new();
        layer.transmit(&mut out);
        let back = server.feed(&out, &mut []);
        server.check("in the handshake", HANDSHAKE_COST);
        let mut rest = &back[..];
        while !rest.is_empty() {
            let taken = layer.receive(rest).expect("a sound peer");
            rest = &rest[taken..];
        }
        more = !out.is_empty() || !back.is_empty();
    }
    assert!(!server.layer.is_handshaking() && !layer.is_handshaking());
    layer
}

/// Records of the dialing side with these texts.
fn records(client: &mut dyn Layer, texts: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut out = Vec::new();
    for length in texts {
        let text = vec![7; length];
        let mut rest = &text[..];
        while !rest.is_empty() {
            let taken = client.write(rest, &mut out).expect("open");
            rest = &rest[taken..];
        }
    }
    out
}

/// The beginning of a hello, or of another message, whose length is larger than everything that comes.
fn endless(length: usize) -> Vec<u8> {
    let mut message = vec![1, 0, 0xff, 0xf0, 3, 3];
    message.resize(length, 7);
    let mut out = Vec::new();
    for piece in message.chunks(16 * 1024) {
        out.extend_from_slice(&[22, 3, 1]);
        out.extend_from_slice(&u16::try_from(piece.len()).expect("a record").to_be_bytes());
        out.extend_from_slice(piece);
    }
    out
}

/// One test, because what is held is counted for the whole process.
#[test]
fn a_layer_holds_no_more_than_it_says() {
    let ca = Authority::new("the root");
    let server = TlsServer::builder().identity(ca.issue(&["localhost"])).build().expect("sound");
    let client = TlsClient::builder().roots(ca.roots()).build().expect("sound");
    let wants = TlsServer::builder().identity(ca.issue(&["localhost"])).client_roots(ca.roots());
    let wants = wants.build().expect("sound");

    // Hellos that do not end.
    for length in [100, 1_000, 5_000, 20_000, 40_000, MAX_HANDSHAKE - 100] {
        let mut watched = Watched::new(&server);
        let bytes = endless(length);
        for piece in bytes.chunks(1_400) {
            watched.feed(piece, &mut []);
            watched.check("a hello", HANDSHAKE_COST);
        }
        let (holds, says) = watched.check(&format!("a hello of {length} bytes"), HANDSHAKE_COST);
        assert!((length..2 * holds).contains(&says), "{says}");
    }

    // An idle connection, and one in the middle of a record.
    let mut watched = Watched::new(&server);
    let mut peer = shake(&mut watched, &client);
    let mut room = vec![0; 64 * 1024];
    watched.feed(&records(&mut *peer, [1]), &mut room);
    watched.feed(&records(&mut *peer, [1]), &mut room);
    let (_, says) = watched.check("an idle connection", OWN);
    assert!(says < 100, "{says}");
    let record = records(&mut *peer, [16 * 1024]);
    for piece in record[..record.len() - 1].chunks(1_000) {
        watched.feed(piece, &mut room);
        watched.check("in a record", OWN);
    }
    let (_, says) = watched.check("a record that lacks a byte", OWN);
    assert!(says >= 16 * 1024 - 4 * 1024, "{says}");
    watched.feed(&record[record.len() - 1..], &mut room);
    watched.check("a whole record", OWN);
    watched.feed(&records(&mut *peer, [1]), &mut room);
    let (_, says) = watched.check("idle again", OWN);
    assert!(says < 100, "{says}");

    // Text that is not read: in long records, and in many short ones.
    for (what, length, number) in [("long", 16_384, 4), ("short", 1, 2_000)] {
        let mut watched = Watched::new(&server);
        let mut peer = shake(&mut watched, &client);
        let bytes = records(&mut *peer, std::iter::repeat_n(length, number));
        watched.feed(&bytes[..bytes.len().min(60_000)], &mut []);
        let (holds, says) = watched.check(&format!("unread, in {what} records"), OWN);
        // For short records, what the allocator itself adds is included.
        assert!(says > 4_000 && says < 3 * holds, "{holds}, {says}");
        let mut read = 0;
        while watched.layer.has_plain() {
            read += watched.layer.read(&mut room);
        }
        assert!(read > 0);
        watched.check("read", OWN);
    }

    // A client's certificate, alone and with others that nobody asked for.
    for others in [0, 1, 50] {
        let (chain, key) = ca.issue_pem(&["a client"], Says::default());
        let others: String = (0..others).map(|_| ca.issue_pem(&["another"], Says::default()).0).collect();
        let identity = Identity::from_pem(format!("{chain}{others}"), key).expect("both are there");
        let client = TlsClient::builder().roots(ca.roots()).identity(identity).build().expect("sound");
        let mut watched = Watched::new(&wants);
        let mut peer = shake(&mut watched, &client);
        watched.feed(&records(&mut *peer, [1]), &mut room);
        watched.feed(&records(&mut *peer, [1]), &mut room);
        let secured = watched.layer.secured().expect("it is");
        let certificates: usize = secured.certificates.iter().map(Vec::len).sum();
        let (_, says) = watched.check(&format!("{certificates} bytes of certificates"), OWN);
        assert!((certificates..certificates + 10_000).contains(&says), "{says}");
    }
}
