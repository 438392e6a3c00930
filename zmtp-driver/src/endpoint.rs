//! Converts ZeroMQ endpoints for the driver.

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::supervisor::Endpoint as DialEndpoint;
use bowline_driver::dial::Source;
use bowline_driver::error::BindError;
use bowline_driver::interfaces;
use bowline_zmtp::endpoint::{Endpoint, Host, HostPort};

use crate::error::ConnectError;

/// The name of an inproc endpoint, if it is one.
pub(crate) fn inproc_name(text: &str) -> Result<Option<String>, ConnectError> {
    Ok(match text.parse()? {
        Endpoint::Inproc(name) => Some(name),
        _ => None,
    })
}

/// The endpoint to dial, and the local address.
#[derive(Debug)]
pub(crate) struct ToDial {
    pub(crate) endpoint: DialEndpoint,
    /// With the local address, if it is known.
    pub(crate) sockets: SocketOptions,
    /// The local address, if it has to be resolved for each dial.
    pub(crate) source: Option<Source>,
}

pub(crate) fn to_dial(text: &str, mut sockets: SocketOptions) -> Result<ToDial, ConnectError> {
    let endpoint: Endpoint = text.parse()?;
    if !endpoint.is_connectable() {
        return Err(ConnectError::Open(text.to_owned()));
    }
    let mut from = None;
    let address = match &endpoint {
        Endpoint::Tcp { to, source } => {
            match source.as_ref().map(|source| (source, host_port(source).parse())) {
                None => {}
                Some((_, Ok(address))) => sockets.bind = Some(address),
                Some((HostPort { host, port }, Err(_))) => {
                    let host = match host {
                        Host::Any => None,
                        Host::Name(name) => Some(name.clone()),
                    };
                    from = Some(Source { host, port: port.unwrap_or(0) });
                }
            }
            host_port(to)
        }
        local => local_address(local, text)?,
    };
    let endpoint = address.parse().map_err(|_| ConnectError::Unsupported(text.to_owned()))?;
    Ok(ToDial { endpoint, sockets, source: from })
}

/// The address to listen at. The name of a network interface stands for its first address, and comes before a
/// host with the same name.
pub(crate) fn to_listen(text: &str) -> Result<String, ConnectError> {
    match &text.parse()? {
        Endpoint::Tcp { to: HostPort { host: Host::Name(name), port }, source: None } => {
            let failed = |source| BindError::Io { address: name.clone(), source };
            let bind_error =
                |source| ConnectError::Bind { endpoint: text.to_owned(), source: failed(source) };
            let found = interfaces::addresses(name).map_err(bind_error)?;
            let host = found.first().map_or_else(|| name.clone(), ToString::to_string);
            Ok(host_port(&HostPort { host: Host::Name(host), port: *port }))
        }
        Endpoint::Tcp { to, source: None } => Ok(host_port(to)),
        // A peer address makes no sense here.
        Endpoint::Tcp { .. } => Err(ConnectError::Unsupported(text.to_owned())),
        local => local_address(local, text),
    }
}

/// An endpoint on this host other than inproc.
fn local_address(endpoint: &Endpoint, text: &str) -> Result<String, ConnectError> {
    match endpoint {
        #[cfg(unix)]
        Endpoint::Ipc(path) => Ok(format!("unix://{path}")),
        #[cfg(target_os = "linux")]
        Endpoint::IpcAbstract(name) => Ok(format!("unix://@{name}")),
        _ => Err(ConnectError::Unsupported(text.to_owned())),
    }
}

/// The address in ZeroMQ's notation.
pub(crate) fn shown(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!("tcp://{address}"),
        Address::Unix(path) => match address.abstract_name() {
            Some(name) => format!("ipc://@{name}"),
            None => format!("ipc://{path}"),
        },
        other => other.to_string(),
    }
}

fn host_port(of: &HostPort) -> String {
    let port = of.port.unwrap_or(0);
    match &of.host {
        Host::Any => format!(":{port}"),
        // An IPv6 address.
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
        assert_eq!(inproc_name("inproc://a").expect("sound").as_deref(), Some("a"));
        assert!(listen("udp://x").is_err() && listen("tcp://127.0.0.1:1;127.0.0.1:2").is_err());
        let dial = |text| to_dial(text, SocketOptions::default());
        assert_eq!(dial("tcp://localhost:80").expect("sound").endpoint.to_string(), "localhost:80");
        assert_eq!(dial("tcp://[::1]:80").expect("sound").endpoint.to_string(), "[::1]:80");
        assert!(matches!(dial("tcp://*:80"), Err(ConnectError::Open(_))));
        assert!(matches!(dial("tcp://localhost:*"), Err(ConnectError::Open(_))));
        for (text, bind, source) in [
            ("tcp://127.0.0.1:0;127.0.0.1:80", Some("127.0.0.1:0"), None),
            ("tcp://[::1]:7;[::1]:80", Some("[::1]:7"), None),
            ("tcp://*:7;localhost:80", None, Some(Source { host: None, port: 7 })),
            ("tcp://here:*;there:80", None, Some(Source { host: Some("here".into()), port: 0 })),
        ] {
            let found = dial(text).expect("sound");
            let bound = found.sockets.bind.map(|bind| bind.to_string());
            assert_eq!((bound.as_deref(), found.source), (bind, source), "{text}");
        }
        #[cfg(target_os = "linux")]
        {
            assert_eq!(listen("tcp://lo:*").as_deref(), Ok("127.0.0.1:0"));
            assert_eq!(listen("tcp://lo0:80").as_deref(), Ok("lo0:80"), "no interface: a host");
            let by_interface = dial("tcp://lo:*;127.0.0.1:80").expect("sound").source;
            assert_eq!(by_interface, Some(Source { host: Some("lo".into()), port: 0 }));
            assert_eq!(listen("ipc://@name").as_deref(), Ok("unix://@name"));
            assert_eq!(dial("ipc://@name").expect("sound").endpoint.to_string(), "unix://@name");
            assert_eq!(shown(&"unix://@name".parse().expect("sound")), "ipc://@name");
        }
        #[cfg(not(target_os = "linux"))]
        assert!(matches!(to_listen("ipc://@name"), Err(ConnectError::Unsupported(_))));
        assert_eq!(shown(&"127.0.0.1:80".parse().expect("sound")), "tcp://127.0.0.1:80");
    }
}
