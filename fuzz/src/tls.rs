//! TLS with bytes of a hostile peer, and between two conforming ends with an attacker in the middle.

use std::sync::OnceLock;

use bowline_core::layer::{AcceptLayer, DialLayer, Layer};
use bowline_netsim::{Conduit, Direction, LayeredConduit};
use bowline_tls::{Certificates, Identity, TlsClient, TlsLayer, TlsServer};

use crate::Input;

/// The text that both write repeatedly.
const TEXT: &[u8] = b"what the peer wrote, and nothing else ";

fn settings() -> &'static (TlsClient, TlsServer) {
    static SETTINGS: OnceLock<(TlsClient, TlsServer)> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let chain = Certificates::from_der([include_bytes!("tls/certificate.der").to_vec()]);
        let identity =
            Identity::from_der(chain.clone(), include_bytes!("tls/key.der").to_vec()).expect("a key");
        let client = TlsClient::builder().roots(chain.clone()).identity(identity.clone()).name("localhost");
        let server =
            TlsServer::builder().identity(identity).client_roots(chain).client_certificate_optional();
        (client.build().expect("sound"), server.build().expect("sound"))
    })
}

/// TLS between a simulated end and the network.
pub(crate) fn conduit(out: Direction) -> Box<dyn Conduit> {
    let (client, server) = settings();
    let layer = match out {
        Direction::ToServer => client.dial(&"localhost:1".parse().expect("an address")),
        Direction::ToClient => server.accept(),
    };
    Box::new(LayeredConduit::new(out, layer.expect("sound")))
}

/// One end, and the test's knowledge of it.
struct End {
    layer: TlsLayer,
    /// Number of bytes that it wrote, and that it received.
    wrote: usize,
    got: usize,
    failed: bool,
    /// Whether bytes for it were changed in transit.
    tampered: bool,
    closed: bool,
}

impl End {
    fn new(layer: TlsLayer) -> Self {
        Self { layer, wrote: 0, got: 0, failed: false, tampered: false, closed: false }
    }

    /// Passes in all bytes, in pieces of that size.
    fn take(&mut self, mut bytes: &[u8], piece: usize) {
        while !bytes.is_empty() && !self.failed {
            let offered = &bytes[..piece.clamp(1, bytes.len())];
            match self.layer.receive(offered) {
                Ok(taken) => {
                    assert!(taken <= offered.len());
                    assert!(taken > 0 || self.layer.has_plain(), "neither takes nor gives");
                    bytes = &bytes[taken..];
                }
                Err(_) => self.failed = true,
            }
            self.read();
        }
    }

    /// The bytes that it received are those written, in order, from the beginning.
    fn read(&mut self) {
        let mut room = [0; 700];
        loop {
            let count = self.layer.read(&mut room);
            if count == 0 {
                assert!(!self.layer.has_plain(), "it has some, and gives none");
                return;
            }
            for byte in &room[..count] {
                assert_eq!(*byte, TEXT[self.got % TEXT.len()], "another text than was written");
                self.got += 1;
            }
        }
    }

    fn write(&mut self, size: usize, out: &mut Vec<u8>) {
        let text: Vec<u8> = TEXT.iter().copied().cycle().skip(self.wrote % TEXT.len()).take(size).collect();
        if let Ok(count) = self.layer.write(&text, out) {
            assert!(count <= size && (count == 0 || !self.layer.is_handshaking()));
            self.wrote += count;
        }
    }
}

/// Steps of two ends, whose bytes are cut, changed, omitted or invented in transit.
pub fn tls_ops(data: &[u8]) {
    let (client, server) = settings();
    let place = "localhost:1".parse().expect("an address");
    let mut ends =
        [End::new(client.layer(&place).expect("a name")), End::new(server.layer().expect("sound"))];
    let mut input = Input(data);
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        let (step, number) = (input.byte(), input.byte());
        let from = usize::from(step & 1);
        let mut bytes = Vec::new();
        ends[from].layer.transmit(&mut bytes);
        match (step >> 1) % 8 {
            0 => {}
            1 => ends[from].write(usize::from(number) * 80, &mut bytes),
            2 => {
                ends[from].layer.close();
                ends[from].closed = true;
            }
            3 => {
                let _ = ends[from].layer.refresh_keys();
            }
            4 if !bytes.is_empty() => {
                let at = usize::from(number) * 8191 % bytes.len();
                bytes[at] ^= 1 << (number & 7);
                ends[1 - from].tampered = true;
            }
            5 => {
                bytes.truncate(usize::from(number));
                ends[1 - from].tampered = true;
            }
            6 => {
                // As a record, or as anything.
                let made_up: Vec<u8> = (0..number & 31).map(|_| input.byte()).collect();
                bytes.extend_from_slice(&made_up);
                ends[1 - from].tampered = true;
            }
            _ => {
                let _ = ends[from].layer.end_of_stream();
            }
        }
        // The output of a step is sent at once, as it may end a handshake.
        ends[from].layer.transmit(&mut bytes);
        assert!(bytes.len() < 128 * 1024, "{} bytes of one step", bytes.len());
        ends[1 - from].take(&bytes, usize::from(number) + 1);
    }
    let wrote = [ends[1].wrote, ends[0].wrote];
    for (end, wrote) in ends.iter().zip(wrote) {
        assert!(end.got <= wrote, "more than was written");
        let is_whole = end.got == wrote || end.tampered || end.failed || end.closed;
        assert!(is_whole, "{} of {wrote} bytes", end.got);
    }
}
