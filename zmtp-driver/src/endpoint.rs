//! ZeroMQ's endpoints in the driver's words.

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::supervisor::Endpoint as DialEndpoint;
use bowline_zmtp::endpoint::{Endpoint, Host, HostPort};

use crate::error::ConnectError;

/// Where to dial, and from where.
pub(crate) fn to_dial(
    text: &str,
    sockets: SocketOptions,
) -> Result<(DialEndpoint, SocketOptions), ConnectError> {
    let endpoint: Endpoint = text.parse()?;
    if !endpoint.is_connectable() {
        return Err(ConnectError::Open(text.to_owned()));
    }
    let unsupported = || ConnectError::Unsupported(text.to_owned());
    let mut sockets = sockets;
    let address = match &endpoint {
        Endpoint::Tcp { to, source } => {
            if let Some(source) = source {
                // Only an address can be bound to; a name would have to be looked up.
                sockets.bind = Some(host_port(source).parse().map_err(|_| unsupported())?);
            }
            host_port(to)
        }
        Endpoint::Ipc(path) => format!("unix://{path}"),
        Endpoint::Inproc(name) => format!("inproc://{name}"),
        _ => return Err(unsupported()),
    };
    let endpoint = address.parse().map_err(|_| unsupported())?;
    Ok((endpoint, sockets))
}

/// Where to listen.
pub(crate) fn to_listen(text: &str) -> Result<String, ConnectError> {
    Ok(match &text.parse()? {
        Endpoint::Tcp { to, source: None } => host_port(to),
        Endpoint::Ipc(path) => format!("unix://{path}"),
        Endpoint::Inproc(name) => format!("inproc://{name}"),
        _ => return Err(ConnectError::Unsupported(text.to_owned())),
    })
}

/// As ZeroMQ writes it.
pub(crate) fn shown(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!("tcp://{address}"),
        Address::Unix(path) => format!("ipc://{path}"),
        other => other.to_string(),
    }
}

fn host_port(of: &HostPort) -> String {
    let port = of.port.unwrap_or(0);
    match &of.host {
        Host::Any => format!(":{port}"),
        // An address of IPv6.
        Host::Name(name) if name.contains(':') => format!("[{name}]:{port}"),
        Host::Name(name) => format!("{name}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_said_as_the_driver_says_them() {
        let listen = |text| to_listen(text).map_err(|error| error.to_string());
        assert_eq!(listen("tcp://*:5555").as_deref(), Ok(":5555"));
        assert_eq!(listen("tcp://127.0.0.1:*").as_deref(), Ok("127.0.0.1:0"));
        assert_eq!(listen("tcp://[::1]:80").as_deref(), Ok("[::1]:80"));
        assert_eq!(listen("ipc:///run/x").as_deref(), Ok("unix:///run/x"));
        assert_eq!(listen("inproc://a").as_deref(), Ok("inproc://a"));
        assert!(listen("udp://x").is_err() && listen("tcp://127.0.0.1:1;127.0.0.1:2").is_err());
        let dial = |text| to_dial(text, SocketOptions::default()).map(|(endpoint, _)| endpoint.to_string());
        assert_eq!(dial("tcp://localhost:80").expect("sound"), "localhost:80");
        assert!(matches!(dial("tcp://*:80"), Err(ConnectError::Open(_))));
        let (_, sockets) =
            to_dial("tcp://127.0.0.1:0;127.0.0.1:80", SocketOptions::default()).expect("sound");
        assert_eq!(sockets.bind.map(|bind| bind.to_string()).as_deref(), Some("127.0.0.1:0"));
        assert_eq!(shown(&"127.0.0.1:80".parse().expect("sound")), "tcp://127.0.0.1:80");
    }
}
