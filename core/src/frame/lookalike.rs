//! Recognises other protocols by their first bytes, for connections to a wrong port.

/// How connections of other protocols begin.
const BEGINNINGS: [(&[u8], &str); 17] = [
    (b"GET ", "HTTP"),
    (b"POST ", "HTTP"),
    (b"PUT ", "HTTP"),
    (b"HEAD ", "HTTP"),
    (b"DELETE ", "HTTP"),
    (b"OPTIONS ", "HTTP"),
    (b"PATCH ", "HTTP"),
    (b"CONNECT ", "HTTP"),
    (b"TRACE ", "HTTP"),
    (b"PRI * HTTP/2", "HTTP"),
    (b"HTTP/", "HTTP"),
    // A handshake record and an alert, of any version.
    (&[0x16, 3], "TLS"),
    (&[0x15, 3], "TLS"),
    (b"SSH-", "SSH"),
    (&[0xad, 0x12], "a tcpstream header"),
    (&[1, 0, 0, 0], "Bowline's own protocol"),
    // The length of a routing id, in eight bytes.
    (&[0xff, 0, 0, 0], "ZeroMQ"),
];

/// The protocol of a connection that begins with these bytes, even if only the first byte is available.
#[cold]
#[must_use]
pub fn looks_like(beginning: &[u8]) -> Option<&'static str> {
    let agrees = |known: &[u8]| {
        let len = known.len().min(beginning.len());
        len > 0 && known[..len] == beginning[..len]
    };
    BEGINNINGS.iter().find(|(known, _)| agrees(known)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_by_the_first_byte_and_not_mistaken_later() {
        for (beginning, name) in [
            (&b"G"[..], Some("HTTP")),
            (b"GET / HTTP/1.1\r\n", Some("HTTP")),
            (b"POST /x", Some("HTTP")),
            (b"HTTP/1.1 400 Bad Request", Some("HTTP")),
            (&[0x16], Some("TLS")),
            (&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc], Some("TLS")),
            (b"SSH-2.0-OpenSSH", Some("SSH")),
            (&[0xad, 0x12, 0, 0, 0, 3], Some("a tcpstream header")),
            (&[1, 0, 0, 0, 0, 0, 0, 56], Some("Bowline's own protocol")),
            (&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f], Some("ZeroMQ")),
            (&[0xff, 1], None),
            (b"GETS", None),
            (&[0x16, 4], None),
            (&[5], None),
            (b"", None),
        ] {
            assert_eq!(looks_like(beginning), name, "{beginning:?}");
        }
    }
}
