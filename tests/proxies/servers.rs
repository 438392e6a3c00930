//! Proxies on threads, written independently of the tested code: SOCKS5, HTTP CONNECT, and some that
//! misbehave.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A proxy, and what it was asked.
pub(crate) struct Server {
    pub(crate) address: String,
    shared: Arc<Shared>,
}

/// How a connection is answered; `Ok` for one that was connected further.
type Answer = Box<dyn Fn(&Shared, &mut TcpStream) -> io::Result<TcpStream> + Send + Sync>;

#[derive(Default)]
pub(crate) struct Shared {
    /// The requests, in order: targets and credentials.
    asked: Mutex<Vec<String>>,
    sockets: Mutex<Vec<TcpStream>>,
    /// The names that only this proxy knows.
    names: Mutex<HashMap<String, SocketAddr>>,
    /// Credentials it wants.
    wants: Mutex<Option<(String, String)>>,
}

impl Server {
    fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (shared, answer) = (Arc::new(Shared::default()), Arc::new(answer));
        let kept = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (shared, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                std::thread::spawn(move || serve(&shared, &answer, client));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn socks5() -> Self {
        Self::start(Box::new(socks5))
    }

    /// One that wants credentials.
    pub(crate) fn wanting(self, user: &str, password: &str) -> Self {
        *self.shared.wants.lock().expect("not poisoned") = Some((user.into(), password.into()));
        self
    }

    /// One that lets everybody in.
    pub(crate) fn wanting_nothing(self) -> Self {
        *self.shared.wants.lock().expect("not poisoned") = None;
        self
    }

    pub(crate) fn http() -> Self {
        Self::start(Box::new(http))
    }

    /// Says that at once, and ends its side of the stream.
    pub(crate) fn says(bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        Self::start(Box::new(move |shared, client| {
            shared.ask("a connection");
            client.write_all(&bytes)?;
            client.shutdown(Shutdown::Write)?;
            // Unread bytes at the close would reset the connection.
            io::copy(client, &mut io::sink())?;
            Err(io::ErrorKind::Other.into())
        }))
    }

    /// Says that once asked, and goes on as the target itself: `answers` come before it echoes everything.
    pub(crate) fn echoes_behind(answers: &'static [(usize, &'static [u8])]) -> Self {
        Self::start(Box::new(move |shared, client| {
            shared.ask("a connection");
            for (len, answer) in answers {
                client.read_exact(&mut vec![0; *len])?;
                client.write_all(answer)?;
            }
            let mut reads = client.try_clone()?;
            io::copy(&mut reads, client)?;
            Err(io::ErrorKind::Other.into())
        }))
    }

    /// Never says anything.
    pub(crate) fn silent() -> Self {
        Self::start(Box::new(|shared, client| {
            shared.ask("a connection");
            io::copy(client, &mut io::sink())?;
            Err(io::ErrorKind::Other.into())
        }))
    }

    /// Wants that line by line before it connects to `target`, and says `answer` to each.
    pub(crate) fn gate(lines: &'static [&'static str], answer: &'static str, target: &str) -> Self {
        let target = target.to_owned();
        Self::start(Box::new(move |shared, client| {
            for line in lines {
                let found = read_line(client)?;
                shared.ask(&found);
                if found != *line {
                    client.write_all(b"-NO\n")?;
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                client.write_all(answer.as_bytes())?;
            }
            TcpStream::connect(&target)
        }))
    }

    /// A name that only the proxy knows.
    pub(crate) fn knows(self, name: &str, address: &str) -> Self {
        self.learns(name, address);
        self
    }

    pub(crate) fn learns(&self, name: &str, address: &str) {
        let address = address.parse().expect("an address");
        self.shared.names.lock().expect("not poisoned").insert(name.to_owned(), address);
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().expect("not poisoned").clone()
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        for socket in self.shared.sockets.lock().expect("not poisoned").drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn ask(&self, what: &str) {
        self.asked.lock().expect("not poisoned").push(what.to_owned());
    }

    fn wants(&self) -> Option<(String, String)> {
        self.wants.lock().expect("not poisoned").clone()
    }

    fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let known = self.names.lock().expect("not poisoned").get(host).copied();
        match (known, host.parse()) {
            (Some(address), _) => TcpStream::connect(address),
            (None, Ok(ip)) => TcpStream::connect(SocketAddr::new(ip, port)),
            (None, Err(_)) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn serve(shared: &Shared, answer: &Answer, mut client: TcpStream) {
    if let Ok(kept) = client.try_clone() {
        shared.sockets.lock().expect("not poisoned").push(kept);
    }
    let Ok(target) = answer(shared, &mut client) else {
        // The clone that is kept keeps it open.
        let _ = client.shutdown(Shutdown::Both);
        return;
    };
    let (Ok(mut from), Ok(mut to)) = (client.try_clone(), target.try_clone()) else { return };
    let mut back = target;
    std::thread::spawn(move || {
        let _ = io::copy(&mut back, &mut client);
        let _ = client.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn read<const N: usize>(client: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_text(client: &mut TcpStream) -> io::Result<String> {
    let [len] = read(client)?;
    let mut bytes = vec![0; usize::from(len)];
    client.read_exact(&mut bytes)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

fn read_line(client: &mut TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        match read(client)? {
            [b'\n'] => break,
            [byte] => line.push(byte),
        }
    }
    String::from_utf8(line).map(|line| line.trim_end().to_owned()).map_err(io::Error::other)
}

fn socks5(shared: &Shared, client: &mut TcpStream) -> io::Result<TcpStream> {
    let [version, methods] = read(client)?;
    assert_eq!(version, 5);
    let mut offered = vec![0; usize::from(methods)];
    client.read_exact(&mut offered)?;
    match shared.wants() {
        Some(_) if !offered.contains(&2) => {
            shared.ask("without credentials");
            client.write_all(&[5, 0xff])?;
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Some(wanted) => {
            client.write_all(&[5, 2])?;
            assert_eq!(read(client)?, [1]);
            let found = (read_text(client)?, read_text(client)?);
            shared.ask(&format!("{}:{}", found.0, found.1));
            client.write_all(&[1, u8::from(found != wanted)])?;
            if found != wanted {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
        }
        None => client.write_all(&[5, 0])?,
    }
    let [version, command, reserved, kind] = read(client)?;
    assert_eq!((version, command, reserved), (5, 1, 0));
    let host = match kind {
        1 => Ipv4Addr::from(read::<4>(client)?).to_string(),
        4 => Ipv6Addr::from(read::<16>(client)?).to_string(),
        _ => read_text(client)?,
    };
    let port = u16::from_be_bytes(read(client)?);
    shared.ask(&format!("{host} {port}"));
    let connected = shared.connect(&host, port);
    let code = match &connected {
        Ok(_) => 0,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => 5,
        Err(_) => 4,
    };
    // The address that it connects from: of IPv6, to be long.
    client.write_all(&[&[5, code, 0, 4][..], &[7; 18]].concat())?;
    connected
}

fn http(shared: &Shared, client: &mut TcpStream) -> io::Result<TcpStream> {
    let request = read_line(client)?;
    let mut authorization = None;
    loop {
        let line = read_line(client)?;
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some(("Proxy-Authorization", value)) => authorization = Some(value.to_owned()),
            Some(("Host", _)) => {}
            _ => shared.ask(&line),
        }
    }
    shared.ask(&request);
    if let Some((scheme, token)) = shared.wants()
        && authorization != Some(format!("{scheme} {token}"))
    {
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 3\r\n\r\nno\n")?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let target = request.strip_prefix("CONNECT ").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
    let (host, port) = target.and_then(|target| target.rsplit_once(':')).expect("a target");
    let host = host.trim_matches(['[', ']']);
    match shared.connect(host, port.parse().expect("a port")) {
        Ok(connected) => {
            client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")?;
            Ok(connected)
        }
        Err(error) => {
            client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")?;
            Err(error)
        }
    }
}
