//! The TLS layer of one connection.

use std::io::{IoSlice, Read, Write};
use std::sync::Arc;

use bowline_core::frame::looks_like;
use bowline_core::layer::{Layer, LayerError, Secured};
use rustls::{ClientConnection, Connection, HandshakeKind, ServerConnection};
use webpki::EndEntityCert;

use crate::error::TlsError;
use crate::holds::{ENTRY, Holds};

/// Default maximum of bytes from a peer before the handshake is done.
pub const MAX_HANDSHAKE: usize = 64 * 1024;
/// Maximum plain bytes of one record.
const RECORD: usize = 16 * 1024;
/// Maximum number of pieces of one record.
const PIECES: usize = 16;
/// A fatal alert for an unexpected message, in the format of every version of TLS.
const UNEXPECTED_MESSAGE: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 10];
/// Maximum plain bytes that are decrypted in advance: what `rustls` holds, and a record.
const PLAIN: usize = 16 * 1024;

/// The TLS of one connection, client or server: see [`Layer`] for how it is driven.
pub struct TlsLayer {
    tls: Connection,
    /// The number of bytes received before the end of the handshake, and the limit.
    came: usize,
    max_handshake: usize,
    /// Plain bytes that were not read yet.
    plain: usize,
    holds: Holds,
    peer_closed: bool,
    closed: bool,
    /// It failed: only the alert for the peer is left.
    broken: bool,
    /// To be sent although `rustls` was not involved.
    alert: Option<[u8; 7]>,
}

impl std::fmt::Debug for TlsLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsLayer")
            .field("handshaking", &self.tls.is_handshaking())
            .field("version", &self.tls.protocol_version())
            .field("peer_closed", &self.peer_closed)
            .finish_non_exhaustive()
    }
}

impl From<ClientConnection> for TlsLayer {
    fn from(tls: ClientConnection) -> Self {
        Self::new(tls.into())
    }
}

impl From<ServerConnection> for TlsLayer {
    fn from(tls: ServerConnection) -> Self {
        Self::new(tls.into())
    }
}

impl TlsLayer {
    fn new(tls: Connection) -> Self {
        Self {
            tls,
            came: 0,
            max_handshake: MAX_HANDSHAKE,
            plain: 0,
            holds: Holds::default(),
            peer_closed: false,
            closed: false,
            broken: false,
            alert: None,
        }
    }

    /// Sets a limit other than [`MAX_HANDSHAKE`].
    #[must_use]
    pub fn with_max_handshake(mut self, bytes: usize) -> Self {
        self.max_handshake = bytes;
        self
    }

    /// Requests new keys for both sides (KeyUpdate; TLS 1.3). `rustls` does so by itself before a key is used
    /// for too long.
    ///
    /// # Errors
    /// The handshake is not done, the version is not 1.3, or one side has ended the connection.
    pub fn refresh_keys(&mut self) -> Result<(), TlsError> {
        if self.broken || self.closed {
            return Err(rustls::Error::General("the connection is over".to_owned()).into());
        }
        Ok(self.tls.refresh_traffic_keys()?)
    }

    fn fail(&mut self, error: TlsError) -> LayerError {
        self.broken = true;
        // A peer that speaks TLS gets a TLS alert.
        if matches!(error, TlsError::NotTls { .. } | TlsError::LongHandshake { .. }) {
            self.alert = Some(UNEXPECTED_MESSAGE);
        }
        error.into()
    }

    /// Passes received bytes to `rustls`; returns how many it took.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, TlsError> {
        let (was_handshaking, mut rest) = (self.tls.is_handshaking(), bytes);
        self.holds.reads();
        // It refuses only if its plain text has to be read first, which the caller handles: nothing is taken.
        if self.tls.read_tls(&mut rest).is_err() {
            return Ok(0);
        }
        let count = bytes.len() - rest.len();
        let state = self.tls.process_new_packets().map_err(TlsError::from)?;
        let plain = state.plaintext_bytes_to_read();
        self.holds.decoded(&bytes[..count], self.plain, plain);
        self.plain = plain;
        self.peer_closed |= state.peer_has_closed();
        if was_handshaking && !self.tls.is_handshaking() {
            let certificates = self.tls.peer_certificates().unwrap_or_default();
            self.holds.end_handshake(certificates.iter().map(|certificate| certificate.len() + ENTRY).sum());
        }
        Ok(count)
    }

    /// `rustls` keeps the certificates: a copy of them is made for who asks.
    fn known(&self) -> Secured {
        let mut secured = Secured::default();
        let certificates = self.tls.peer_certificates().unwrap_or_default();
        secured.certificates = certificates.iter().map(|certificate| certificate.to_vec()).collect();
        if let Some(Ok(own)) = certificates.first().map(EndEntityCert::try_from) {
            secured.names = own.valid_dns_names().map(str::to_owned).collect();
        }
        secured.protocol = self.tls.alpn_protocol().map(<[u8]>::to_vec);
        secured.version = match self.tls.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLS",
        };
        secured.resumed = self.tls.handshake_kind() == Some(HandshakeKind::Resumed);
        if let Connection::Server(server) = &self.tls {
            secured.server_name = server.server_name().map(str::to_owned);
        }
        secured
    }
}

impl Layer for TlsLayer {
    fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<usize, LayerError> {
        if self.peer_closed || self.broken || self.closed {
            // The peer has closed, or its bytes are ignored. (`rustls` would report bytes after the peer's
            // close as an error of this side.)
            return Ok(bytes.len());
        }
        // A handshake record or an alert, of SSL version 3 or later.
        let begins = [&[0x16, 0x15][..], &[3][..]];
        for (at, allowed) in begins.iter().enumerate().skip(self.came) {
            if bytes.get(at - self.came).is_some_and(|byte| !allowed.contains(byte)) {
                let looks_like = if self.came == 0 { looks_like(bytes) } else { None };
                return Err(self.fail(TlsError::NotTls { looks_like }));
            }
        }
        let mut taken = 0;
        while taken < bytes.len() && self.plain < PLAIN && !self.holds.has_many() && !self.peer_closed {
            let mut piece = &bytes[taken..];
            if self.tls.is_handshaking() {
                let room = self.max_handshake.saturating_sub(self.came);
                if room == 0 {
                    let limit = self.max_handshake;
                    return Err(self.fail(TlsError::LongHandshake { limit }));
                }
                piece = &piece[..piece.len().min(room)];
            }
            let count = match self.take(piece) {
                Ok(count) => count,
                Err(error) => return Err(self.fail(error)),
            };
            if count == 0 {
                break;
            }
            self.came = self.came.saturating_add(count);
            taken += count;
        }
        Ok(if self.peer_closed { bytes.len() } else { taken })
    }

    fn read(&mut self, buf: &mut [u8]) -> usize {
        let mut read = 0;
        while self.plain > 0 && read < buf.len() {
            // It returns bytes while there are some.
            let Ok(count @ 1..) = self.tls.reader().read(&mut buf[read..]) else { break };
            self.plain = self.plain.saturating_sub(count);
            read += count;
        }
        if self.plain == 0 {
            self.holds.emptied();
        }
        read
    }

    fn has_plain(&self) -> bool {
        self.plain > 0
    }

    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, LayerError> {
        if self.tls.is_handshaking() || self.closed || self.broken {
            return Ok(0);
        }
        self.transmit(out);
        let record = &plain[..plain.len().min(RECORD)];
        // It writes into memory: the only possible error is a lack of room.
        let count = self.tls.writer().write(record).unwrap_or(0);
        self.transmit(out);
        Ok(count)
    }

    fn write_pieces(&mut self, pieces: &[&[u8]], out: &mut Vec<u8>) -> Result<usize, LayerError> {
        if let [plain] = pieces {
            return self.write(plain, out);
        }
        if self.tls.is_handshaking() || self.closed || self.broken {
            return Ok(0);
        }
        let (mut slices, mut filled, mut left) = ([IoSlice::new(&[]); PIECES], 0, RECORD);
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            let piece = &piece[..piece.len().min(left)];
            *slice = IoSlice::new(piece);
            filled += 1;
            left -= piece.len();
            if left == 0 {
                break;
            }
        }
        self.transmit(out);
        let count = self.tls.writer().write_vectored(&slices[..filled]).unwrap_or(0);
        self.transmit(out);
        Ok(count)
    }

    fn wants_transmit(&self) -> bool {
        self.alert.is_some() || self.tls.wants_write()
    }

    fn transmit(&mut self, out: &mut Vec<u8>) {
        if let Some(alert) = self.alert.take() {
            out.extend_from_slice(&alert);
            return;
        }
        while self.tls.wants_write() {
            if !matches!(self.tls.write_tls(out), Ok(1..)) {
                break;
            }
        }
    }

    fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            // A fatal alert was the last message.
            if !self.broken {
                self.tls.send_close_notify();
            }
        }
    }

    fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    fn end_of_stream(&mut self) -> Result<(), LayerError> {
        if self.closed || (self.peer_closed && !self.tls.is_handshaking()) {
            return Ok(());
        }
        if self.came == 0 {
            return Err(TlsError::Silent.into());
        }
        Err(TlsError::Truncated { handshaking: self.tls.is_handshaking() }.into())
    }

    /// During the handshake, everything that came counts twice: `rustls` may keep it to verify the handshake,
    /// or as certificates, while the next message is in its buffer.
    fn held(&self) -> usize {
        let kept = if self.tls.is_handshaking() { self.came } else { 0 };
        self.holds.bytes() + self.plain + kept
    }

    fn secured(&self) -> Option<Arc<Secured>> {
        (!self.tls.is_handshaking()).then(|| Arc::new(self.known()))
    }
}
