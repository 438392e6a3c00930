//! CURVE (RFC 26): both sides prove that they have their keys, and everything after that is encrypted.
//!
//! This code draws no random bytes: the pipe draws them for each connection from the source that its driver
//! supplied ([`Draw`]).

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

use dryoc::classic::crypto_box::{
    crypto_box_beforenm, crypto_box_detached_afternm_inplace, crypto_box_open_easy_afternm,
};
use dryoc::classic::crypto_core::crypto_scalarmult_base;
use zeroize::Zeroizing;

use super::session::{Opened, SEALED};
use super::{Admission, Credentials, Step, read_metadata, unexpected};
use crate::error::ZmtpError;
use crate::options::Options;
use crate::wire::{Command, Metadata, Version, put_command, put_header};

/// A public key.
pub type PublicKey = [u8; 32];

/// Length of a box's authentication tag, bytes.
const MAC: usize = 16;
/// Length of a cookie, bytes.
const COOKIE: usize = 96;

/// A secret key. Its `Debug` output does not contain it, and its memory is wiped on drop.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// Wraps the key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// Computes the corresponding public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let mut public = [0; 32];
        crypto_scalarmult_base(&mut public, &self.0);
        public
    }

    /// The key for boxes that are exchanged with the owner of `theirs`.
    fn with(&self, theirs: &PublicKey, field: &'static str) -> Result<Key, ZmtpError> {
        let key = crypto_box_beforenm(theirs, &self.0).map_err(|_| ZmtpError::Sealed { field })?;
        Ok(Key(Zeroizing::new(key)))
    }

    /// Whether it can be used with that public key.
    pub(crate) fn goes_with(&self, theirs: &PublicKey) -> bool {
        self.with(theirs, "key").is_ok()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl From<[u8; 32]> for SecretKey {
    fn from(key: [u8; 32]) -> Self {
        Self::new(key)
    }
}

/// The random values of one connection.
#[derive(Clone)]
pub(crate) struct Draw {
    secret: SecretKey,
    nonce: [u8; 16],
    cookie: [u8; COOKIE],
}

impl Draw {
    pub(crate) fn new(mut fill: impl FnMut(&mut [u8])) -> Self {
        let (mut secret, mut nonce, mut cookie) = (Zeroizing::new([0; 32]), [0; 16], [0; COOKIE]);
        fill(&mut *secret);
        fill(&mut nonce);
        fill(&mut cookie);
        Self { secret: SecretKey(secret), nonce, cookie }
    }
}

/// The shared key of two parties.
struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// Appends an encrypted box that contains `parts`.
    fn seal(&self, nonce: &[u8; 24], parts: &[&[u8]], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; MAC]);
        parts.iter().for_each(|part| out.extend_from_slice(part));
        let mut mac = [0; MAC];
        crypto_box_detached_afternm_inplace(&mut out[start + MAC..], &mut mac, nonce, &self.0);
        out[start..start + MAC].copy_from_slice(&mac);
    }

    /// Decrypts a box.
    fn open(&self, nonce: &[u8; 24], sealed: &[u8], field: &'static str) -> Result<Vec<u8>, ZmtpError> {
        let mut content = Vec::new();
        self.open_into(nonce, sealed, field, &mut content)?;
        Ok(content)
    }

    /// Decrypts a box into `out`, whose memory is reused. On failure none of the content is left there.
    fn open_into(
        &self,
        nonce: &[u8; 24],
        sealed: &[u8],
        field: &'static str,
        content: &mut Vec<u8>,
    ) -> Result<(), ZmtpError> {
        content.clear();
        content.resize(sealed.len().saturating_sub(MAC), 0);
        crypto_box_open_easy_afternm(content, sealed, nonce, &self.0).map_err(|_| {
            content.clear();
            ZmtpError::Sealed { field }
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A nonce of a prefix and a number, or of a shorter prefix and 16 bytes.
fn nonce<const N: usize>(name: &[u8], rest: [u8; N]) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..24 - N].copy_from_slice(name);
    nonce[24 - N..].copy_from_slice(&rest);
    nonce
}

fn short(name: &[u8; 16], number: u64) -> [u8; 24] {
    nonce(name, number.to_be_bytes())
}

/// Removes `N` bytes from the front.
fn take<'b, const N: usize>(field: &'static str, bytes: &mut &'b [u8]) -> Result<&'b [u8; N], ZmtpError> {
    let Some((front, rest)) = bytes.split_first_chunk() else {
        return Err(ZmtpError::Truncated { field, value: bytes.len() as u64, limit: N as u64 });
    };
    *bytes = rest;
    Ok(front)
}

fn exactly(field: &'static str, bytes: &[u8], limit: usize) -> Result<(), ZmtpError> {
    match bytes.len() {
        length if length == limit => Ok(()),
        length => Err(ZmtpError::BadField { field, value: length as u64, limit: limit as u64 }),
    }
}

/// The client: it knows the server's public key.
#[derive(Debug)]
pub(crate) struct Client {
    secret: SecretKey,
    server: PublicKey,
    transient: SecretKey,
    vouch: [u8; 16],
    /// The key for boxes after the server's transient key was received.
    key: Option<Key>,
}

impl Client {
    pub(super) fn start(
        secret: &SecretKey,
        server: &PublicKey,
        draw: Draw,
        out: &mut Vec<u8>,
    ) -> Result<Self, ZmtpError> {
        let transient = draw.secret;
        let mut data = alloc::vec![1, 0];
        data.resize(2 + 72, 0);
        data.extend_from_slice(&transient.public_key());
        data.extend_from_slice(&1_u64.to_be_bytes());
        transient.with(server, "server key")?.seal(&short(b"CurveZMQHELLO---", 1), &[&[0; 64]], &mut data);
        put_command(out, "HELLO", &[&data]);
        Ok(Self { secret: secret.clone(), server: *server, transient, vouch: draw.nonce, key: None })
    }

    pub(super) fn handle(
        &mut self,
        options: &Options,
        command: Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Step, ZmtpError> {
        match (command, &self.key) {
            (Command::Welcome(data), None) => {
                self.welcome(options, data, out)?;
                Ok(Step::Continue)
            }
            (Command::Ready(mut data), Some(key)) => {
                let number = u64::from_be_bytes(*take("READY nonce", &mut data)?);
                check_number(number, 0)?;
                let metadata = key.open(&short(b"CurveZMQREADY---", number), data, "READY")?;
                Ok(Step::Ready(read_metadata(options, &metadata)?))
            }
            (other, key) => Err(unexpected(other, if key.is_some() { "READY" } else { "WELCOME" })),
        }
    }

    fn welcome(&mut self, options: &Options, mut data: &[u8], out: &mut Vec<u8>) -> Result<(), ZmtpError> {
        let random = *take("WELCOME nonce", &mut data)?;
        let opener = self.transient.with(&self.server, "server key")?;
        let content = opener.open(&nonce::<16>(b"WELCOME-", random), data, "WELCOME")?;
        exactly("WELCOME content", &content, 32 + COOKIE)?;
        let mut rest = &content[..];
        let theirs: &PublicKey = take("WELCOME key", &mut rest)?;
        // It proves that the owner of the transient key also has the long-term key.
        let mut vouch = Vec::new();
        let voucher = self.secret.with(theirs, "server's transient key")?;
        let mine = self.transient.public_key();
        voucher.seal(&nonce::<16>(b"VOUCH---", self.vouch), &[&mine, &self.server], &mut vouch);
        let key = self.transient.with(theirs, "server's transient key")?;
        let mut sealed = Vec::new();
        let parts: [&[u8]; 4] = [&self.secret.public_key(), &self.vouch, &vouch, &options.own_metadata()];
        key.seal(&short(b"CurveZMQINITIATE", 2), &parts, &mut sealed);
        put_command(out, "INITIATE", &[rest, &2_u64.to_be_bytes(), &sealed]);
        self.key = Some(key);
        Ok(())
    }

    pub(super) fn session(self) -> Option<Session> {
        Some(Session::new(self.key?, true))
    }
}

/// The server: its public key is known to clients, and it learns the client's.
#[derive(Debug)]
pub(crate) struct Server {
    secret: SecretKey,
    draw: Option<Box<Draw>>,
    state: ServerState,
}

#[derive(Debug)]
enum ServerState {
    Hello,
    /// The client's transient key, the server's, the cookie, and the nonce of HELLO.
    Initiate(Box<(PublicKey, SecretKey, [u8; COOKIE], u64)>),
    /// The client's metadata, until the client is accepted.
    Deciding(Key, Metadata),
    Done(Key),
}

impl fmt::Debug for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draw(..)")
    }
}

impl Server {
    pub(super) fn start(secret: &SecretKey, draw: Draw) -> Self {
        Self { secret: secret.clone(), draw: Some(Box::new(draw)), state: ServerState::Hello }
    }

    pub(super) fn handle(
        &mut self,
        options: &Options,
        command: Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Step, ZmtpError> {
        match (command, &self.state) {
            (Command::Hello(data), ServerState::Hello) => {
                self.hello(data, out)?;
                Ok(Step::Continue)
            }
            (Command::Initiate(data), ServerState::Initiate(_)) => self.initiate(options, data, out),
            (other, ServerState::Hello) => Err(unexpected(other, "HELLO")),
            (other, _) => Err(unexpected(other, "INITIATE")),
        }
    }

    fn hello(&mut self, mut data: &[u8], out: &mut Vec<u8>) -> Result<(), ZmtpError> {
        exactly("HELLO", data, 2 + 72 + 32 + 8 + 80)?;
        let [major, minor] = *take("HELLO version", &mut data)?;
        if (major, minor) != (1, 0) {
            let value = u64::from(u16::from_be_bytes([major, minor]));
            return Err(ZmtpError::BadField { field: "CURVE version", value, limit: 0x100 });
        }
        let _padding: &[u8; 72] = take("HELLO padding", &mut data)?;
        let client: PublicKey = *take("HELLO key", &mut data)?;
        let number = u64::from_be_bytes(*take("HELLO nonce", &mut data)?);
        check_number(number, 0)?;
        let key = self.secret.with(&client, "client's transient key")?;
        // It proves that the client knows the server's key and has the key that it claims.
        let content = key.open(&short(b"CurveZMQHELLO---", number), data, "HELLO")?;
        if content.iter().any(|byte| *byte != 0) {
            return Err(ZmtpError::Sealed { field: "HELLO" });
        }
        let Some(draw) = self.draw.take() else { return Err(ZmtpError::Sealed { field: "HELLO" }) };
        let Draw { secret, nonce: random, cookie } = *draw;
        let mut sealed = random.to_vec();
        key.seal(&nonce::<16>(b"WELCOME-", random), &[&secret.public_key(), &cookie], &mut sealed);
        put_command(out, "WELCOME", &[&sealed]);
        self.state = ServerState::Initiate(Box::new((client, secret, cookie, number)));
        Ok(())
    }

    fn initiate(&mut self, options: &Options, mut data: &[u8], out: &mut Vec<u8>) -> Result<Step, ZmtpError> {
        let ServerState::Initiate(state) = &self.state else { return Ok(Step::Continue) };
        let (client, transient, cookie, hello) = &**state;
        // The cookie belongs to this connection: an INITIATE of another connection is refused.
        if take::<COOKIE>("INITIATE cookie", &mut data)? != cookie {
            return Err(ZmtpError::Sealed { field: "cookie" });
        }
        let number = u64::from_be_bytes(*take("INITIATE nonce", &mut data)?);
        check_number(number, *hello)?;
        let key = transient.with(client, "client's transient key")?;
        let content = key.open(&short(b"CurveZMQINITIATE", number), data, "INITIATE")?;
        let mut rest = &content[..];
        let theirs: PublicKey = *take("client key", &mut rest)?;
        let random = *take("vouch nonce", &mut rest)?;
        let vouch: &[u8; MAC + 64] = take("vouch", &mut rest)?;
        let vouched =
            transient.with(&theirs, "client key")?.open(&nonce::<16>(b"VOUCH---", random), vouch, "vouch")?;
        if vouched[..32] != client[..] || vouched[32..] != self.secret.public_key() {
            return Err(ZmtpError::Sealed { field: "vouch" });
        }
        let metadata = read_metadata(options, rest)?;
        self.state = ServerState::Deciding(key, metadata);
        match (&options.allowed_keys, options.admission) {
            (Some(keys), _) if !keys.contains(&theirs) => Ok(Step::Refuse(400)),
            (_, Some(Admission::Ask)) => Ok(Step::Ask(Credentials::Curve { public_key: theirs })),
            _ => Ok(self.accepted(options, out)),
        }
    }

    pub(super) fn accepted(&mut self, options: &Options, out: &mut Vec<u8>) -> Step {
        match core::mem::replace(&mut self.state, ServerState::Hello) {
            ServerState::Deciding(key, metadata) => {
                let mut sealed = Vec::new();
                key.seal(&short(b"CurveZMQREADY---", 1), &[&options.own_metadata()], &mut sealed);
                put_command(out, "READY", &[&1_u64.to_be_bytes(), &sealed]);
                self.state = ServerState::Done(key);
                Step::Ready(metadata)
            }
            other => {
                self.state = other;
                Step::Continue
            }
        }
    }

    pub(super) fn session(self) -> Option<Session> {
        match self.state {
            ServerState::Done(key) => Some(Session::new(key, false)),
            _ => None,
        }
    }
}

/// Nonces must increase, so that a replayed box is refused.
fn check_number(number: u64, last: u64) -> Result<(), ZmtpError> {
    if number > last {
        return Ok(());
    }
    Err(ZmtpError::BadField { field: "nonce (which has to grow)", value: number, limit: last })
}

/// An established connection.
#[derive(Debug)]
pub(crate) struct Session {
    key: Key,
    is_client: bool,
    /// The nonce of the next box to encrypt.
    next: u64,
    last: u64,
}

impl Session {
    fn new(key: Key, is_client: bool) -> Self {
        // The client has used the nonces of HELLO and INITIATE, the server that of READY.
        let (next, last) = if is_client { (3, 1) } else { (2, 2) };
        Self { key, is_client, next, last }
    }

    fn prefix(by_client: bool) -> &'static [u8; 16] {
        if by_client { b"CurveZMQMESSAGEC" } else { b"CurveZMQMESSAGES" }
    }

    /// Appends an encrypted frame.
    pub(crate) fn seal(&mut self, more: bool, command: bool, body: &[u8], out: &mut Vec<u8>) {
        let number = self.next;
        self.next += 1;
        put_header(out, Version::V3_1, 0, SEALED + body.len());
        out.extend_from_slice(b"\x07MESSAGE");
        out.extend_from_slice(&number.to_be_bytes());
        let flags = u8::from(more) | u8::from(command) << 1;
        self.key.seal(&short(Self::prefix(self.is_client), number), &[&[flags], body], out);
    }

    /// Decrypts the body of a frame: `content` then has its flags and its body.
    pub(crate) fn open(&mut self, mut body: &[u8], content: &mut Vec<u8>) -> Result<Opened, ZmtpError> {
        if take::<8>("MESSAGE", &mut body)? != b"\x07MESSAGE" {
            return Err(ZmtpError::Unexpected { found: "a frame in clear", expected: "MESSAGE" });
        }
        let number = u64::from_be_bytes(*take("MESSAGE nonce", &mut body)?);
        check_number(number, self.last)?;
        let nonce = short(Self::prefix(!self.is_client), number);
        self.key.open_into(&nonce, body, "MESSAGE", content)?;
        let Some(flags) = content.first() else {
            return Err(ZmtpError::Truncated { field: "MESSAGE flags", value: 0, limit: 1 });
        };
        self.last = number;
        Ok(Opened { more: flags & 1 != 0, command: flags & 2 != 0 })
    }
}

/// The public keys of the clients that are accepted.
pub(crate) type AllowedKeys = BTreeSet<PublicKey>;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn keys_are_not_printed() {
        let secret = SecretKey::new([7; 32]);
        let draw = Draw::new(|bytes| bytes.fill(7));
        let key = secret.with(&secret.public_key(), "key").unwrap();
        assert_eq!(format!("{secret:?} {draw:?} {key:?}"), "SecretKey(..) Draw(..) Key(..)");
    }

    #[test]
    fn a_key_that_is_none_cannot_be_used() {
        let secret = SecretKey::new([7; 32]);
        assert!(secret.goes_with(&SecretKey::new([8; 32]).public_key()));
        assert!(!secret.goes_with(&[0; 32]), "what it comes to is known to everybody");
    }

    #[test]
    fn numbers_grow() {
        let number = ZmtpError::BadField { field: "nonce (which has to grow)", value: 5, limit: 5 };
        assert_eq!(check_number(5, 5), Err(number));
        assert!(check_number(4, 5).is_err() && check_number(7, 5).is_ok());
    }
}
