//! The content of the boxes in recordings of CURVE. All keys are recorded.

use bowline_zmtp::wire::{COMMAND, Frame, MORE, Version, put_header};
use dryoc::classic::crypto_box::{crypto_box_beforenm, crypto_box_open_easy_afternm};

use crate::record::Scenario;

fn open(key: &[u8; 32], nonce: &[u8], sealed: &[u8]) -> Vec<u8> {
    let nonce: [u8; 24] = nonce.try_into().expect("a nonce");
    let mut content = vec![0; sealed.len() - 16];
    crypto_box_open_easy_afternm(&mut content, sealed, &nonce, key).expect("it opens");
    content
}

fn key(public: Option<Vec<u8>>, secret: Option<Vec<u8>>) -> Option<[u8; 32]> {
    let (public, secret): ([u8; 32], [u8; 32]) = (public?.try_into().ok()?, secret?.try_into().ok()?);
    crypto_box_beforenm(&public, &secret).ok()
}

/// The offset of a command with that name in the output of one side, and its data.
fn command<'b>(stream: &'b [u8], name: &[u8]) -> Option<&'b [u8]> {
    let at = stream.windows(name.len()).position(|window| window == name)?;
    Some(&stream[at + name.len()..])
}

/// The random bytes that one side drew for a connection: its transient key, a nonce, a cookie.
pub(crate) fn drawn(scenario: &Scenario, connection: usize, is_client: bool) -> Vec<u8> {
    let of = |what: &str| scenario.opened(connection, what);
    let lines =
        scenario.lines.iter().filter(|line| line.connection == connection && line.from_client == is_client);
    let said: Vec<u8> = lines.flat_map(|line| line.bytes.iter().copied()).collect();
    let side = if is_client { "client" } else { "server" };
    let secret = of(&format!("{side}_transient_secret")).unwrap_or_else(|| vec![1; 32]);
    let nonce = match is_client {
        true => initiate_nonce(scenario, connection, &said),
        false => command(&said, b"\x07WELCOME").and_then(|data| data.get(..16)).map(<[u8]>::to_vec),
    };
    let cookie = of("cookie").unwrap_or_else(|| vec![0; 96]);
    [secret, nonce.unwrap_or_else(|| vec![0; 16]), cookie].concat()
}

/// The nonce of the vouch, which is in the box of INITIATE.
fn initiate_nonce(scenario: &Scenario, connection: usize, said: &[u8]) -> Option<Vec<u8>> {
    let of = |what: &str| scenario.opened(connection, what);
    let data = command(said, b"\x08INITIATE")?;
    let key = key(of("server_transient_public"), of("client_transient_secret"))?;
    let length = 128 + 16 + of("initiate_metadata")?.len();
    let nonce = [b"CurveZMQINITIATE", &data[96..104]].concat();
    Some(open(&key, &nonce, &data[104..104 + length])[32..48].to_vec())
}

/// Frames that one side encrypted, in plain text.
pub(crate) fn unsealed(
    scenario: &Scenario,
    connection: usize,
    by_client: bool,
    mut stream: &[u8],
) -> Vec<u8> {
    let of = |what: &str| scenario.opened(connection, what);
    let key = key(of("server_transient_public"), of("client_transient_secret")).expect("keys");
    let mut out = Vec::new();
    while let Ok(Some(frame)) = Frame::parse(Version::V3_1, stream) {
        let Some(body) = stream.get(frame.header..frame.total()) else { break };
        let Some(rest) = body.strip_prefix(b"\x07MESSAGE") else { break };
        let prefix = if by_client { b"CurveZMQMESSAGEC" } else { b"CurveZMQMESSAGES" };
        let content = open(&key, &[&prefix[..], &rest[..8]].concat(), &rest[8..]);
        let flags = [0, MORE][usize::from(content[0] & 1)] | [0, COMMAND][usize::from(content[0] >> 1 & 1)];
        put_header(&mut out, Version::V3_1, flags, content.len() - 1);
        out.extend_from_slice(&content[1..]);
        stream = &stream[frame.total()..];
    }
    out
}
