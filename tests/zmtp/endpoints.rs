//! The endpoints that sockets bind and connect to.

use bowline::Address;
use bowline::driver::runtime::Runtime;
use bowline::zmtp::{ConnectError, SocketEvent, kinds};
use bowline_zmtp_driver::Socket;

use crate::done;

type Push<R> = Socket<R, kinds::Push>;
type Pull<R> = Socket<R, kinds::Pull>;

/// Connects and sends; where the other side says that it came from.
async fn from_where<R: Runtime>(pull: &Pull<R>, endpoint: &str) -> Option<Address> {
    let push = Push::<R>::new();
    done::<R, _>(push.connect_ready(endpoint)).await.expect("it listens");
    done::<R, _>(push.send("here")).await.expect("open");
    assert_eq!(&done::<R, _>(pull.recv()).await.expect("open")[0][..], b"here");
    let from = std::iter::from_fn(|| pull.take_event())
        .find_map(|event| match event {
            SocketEvent::Accepted { from, .. } => Some(from),
            _ => None,
        })
        .expect("it was accepted");
    done::<R, _>(push.close()).await;
    from
}

fn ip(address: Option<Address>) -> String {
    address.and_then(|address| address.ip()).expect("TCP").to_string()
}

/// Names of Unix sockets without a file: free again when there is no listener.
pub(crate) async fn names_without_a_file<R: Runtime>() {
    let runtime = std::any::type_name::<R>().replace("::", "-");
    let endpoint = format!("ipc://@bowline-zmtp-{}-{runtime}", std::process::id());
    for _ in 0..2 {
        let pull = Pull::<R>::new();
        assert_eq!(pull.bind(&endpoint).expect("it is free"), endpoint);
        assert!(matches!(Pull::<R>::new().bind(&endpoint), Err(ConnectError::Bind { .. })));
        assert!(from_where(&pull, &endpoint).await.is_some());
        assert!(!std::path::Path::new(endpoint.strip_prefix("ipc://").expect("ipc")).exists());
        done::<R, _>(pull.close()).await;
    }
}

pub(crate) async fn connections_come_from_the_source_that_was_said<R: Runtime>() {
    let pull = Pull::<R>::new();
    let bound = pull.bind("tcp://127.0.0.1:*").expect("it is free");
    let to = bound.strip_prefix("tcp://").expect("TCP");
    for (source, from) in [
        ("127.0.0.2:*", "127.0.0.2"),
        ("127.0.0.3:0", "127.0.0.3"),
        ("localhost:*", "127.0.0.1"),
        ("*:*", "127.0.0.1"),
    ] {
        assert_eq!(ip(from_where(&pull, &format!("tcp://{source};{to}")).await), from, "{source}");
    }
    // A source that this host is not: each attempt fails, and says why.
    let push = Push::<R>::new();
    push.connect(&format!("tcp://192.0.2.1:*;{to}")).expect("an endpoint");
    loop {
        match done::<R, _>(push.next_event()).await.expect("open") {
            SocketEvent::DialFailed { .. } => break,
            SocketEvent::PeerUp(..) => panic!("from where?"),
            _ => {}
        }
    }
    done::<R, _>(push.close()).await;
    done::<R, _>(pull.close()).await;
}

pub(crate) async fn wildcards_and_both_families<R: Runtime>() {
    let pull = Pull::<R>::new();
    let bound = pull.bind("tcp://*:*").expect("it is free");
    let port = bound.rsplit(':').next().expect("a port");
    assert_eq!(ip(from_where(&pull, &format!("tcp://127.0.0.1:{port}")).await), "127.0.0.1");
    assert_eq!(ip(from_where(&pull, &format!("tcp://127.0.0.2:*;localhost:{port}")).await), "127.0.0.2");
    let by_name = pull.bind("tcp://localhost:*").expect("it is free");
    from_where(&pull, &by_name).await;
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let bound = pull.bind("tcp://[::1]:*").expect("it is free");
        assert_eq!(ip(from_where(&pull, &bound).await), "::1");
        assert_eq!(
            ip(from_where(&pull, &bound.replacen("tcp://", "tcp://[::1]:*;", 1)).await),
            "::1",
            "from an address of the same family"
        );
    }
    for text in ["tcp://127.0.0.1:*;127.0.0.1:*", "pgm://x"] {
        assert!(pull.bind(text).is_err(), "{text}");
    }
    assert!(matches!(pull.connect("tcp://*:80"), Err(ConnectError::Open(_))));
    done::<R, _>(pull.close()).await;
}

/// The name of the loopback interface.
const LOOPBACK: &str = match () {
    () if cfg!(windows) => "Loopback Pseudo-Interface 1",
    () if cfg!(target_os = "linux") => "lo",
    () => "lo0",
};

pub(crate) async fn interfaces_stand_for_their_addresses<R: Runtime>() {
    let pull = Pull::<R>::new();
    let bound = pull.bind(&format!("tcp://{LOOPBACK}:*")).expect("it is there");
    let to = bound.strip_prefix("tcp://").expect("TCP");
    assert!(to.starts_with("127.0.0.1:"), "{bound}");
    assert_eq!(ip(from_where(&pull, &format!("tcp://{LOOPBACK}:*;{to}")).await), "127.0.0.1");
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let bound = pull.bind("tcp://[::1]:*").expect("it is free");
        let to = bound.strip_prefix("tcp://").expect("TCP");
        let from = from_where(&pull, &format!("tcp://{LOOPBACK}:*;{to}")).await;
        assert_eq!(ip(from), "::1", "of the interface's addresses the one of the same family");
    }
    // With its port, too, and at once after another socket was closed there.
    let port = to.rsplit(':').next().expect("a port");
    for _ in 0..20 {
        pull.unbind(&bound).expect("bound");
        assert_eq!(pull.bind(&format!("tcp://{LOOPBACK}:{port}")).expect("it is free"), bound);
        from_where(&pull, &bound).await;
    }
    done::<R, _>(pull.close()).await;
}
