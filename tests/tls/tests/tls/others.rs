//! ZeroMQ sockets and Forest Bus clients over TLS.

use bowline_driver::runtime::Runtime;
use bowline_forestbus_driver::{Client, Node, NodeSettings, Settings};
use bowline_tls::TlsError;
use bowline_zmtp_driver::{Socket, SocketEvent, kinds};

use crate::wire::{Wire, body};
use crate::world::{NAME, World, done, world};

pub(crate) async fn zeromq_sockets<R: Runtime>() {
    let World { server: tls, client, ca } = world();
    let pull = Socket::<R, kinds::Pull>::builder().tls(&tls).open().expect("sound");
    let bound = pull.bind("tcp://127.0.0.1:*").expect("a free port");
    let port: u16 = bound.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let wire = Wire::to(port);
    let endpoint = format!("tcp://{NAME}:{}", wire.port);
    let push = Socket::<R, kinds::Push>::builder().tls(&client).open().expect("sound");
    done::<R, _>(push.connect_ready(&endpoint)).await.expect("it listens");
    for size in [0, 1, 255, 256, 8_192, 16_384, 100_000, 1_000_000] {
        done::<R, _>(push.send([&b"head"[..], &body(size)])).await.expect("open");
        let message = done::<R, _>(pull.recv()).await.expect("open");
        assert!(message.len() == 2 && message[1][..] == body(size)[..], "{size}");
    }
    for number in 0..2_000_usize {
        done::<R, _>(push.send(body(number % 300))).await.expect("open");
    }
    for number in 0..2_000_usize {
        let message = done::<R, _>(pull.recv()).await.expect("open");
        assert_eq!(message[0].len(), number % 300);
    }
    assert!(done::<R, _>(push.close()).await.is_empty());
    wire.assert_secret();

    // A socket with another root does not connect, and reports the cause.
    let stranger = crate::certificates::Authority::new("another root");
    let other = bowline_tls::TlsClient::builder().roots(stranger.roots()).build().expect("sound");
    let push = Socket::<R, kinds::Push>::builder().tls(&other).open().expect("sound");
    push.connect(&endpoint).expect("it is an endpoint");
    let failure = loop {
        match done::<R, _>(push.next_event()).await {
            Some(SocketEvent::DialFailed { failure, .. }) => break failure,
            Some(_) => {}
            None => panic!("no event"),
        }
    };
    assert!(matches!(TlsError::of(&failure.cause), Some(TlsError::Certificate { .. })), "{failure:?}");
    done::<R, _>(push.close()).await;
    loop {
        match done::<R, _>(pull.next_event()).await {
            Some(SocketEvent::Insecure { cause, .. }) => {
                break assert!(TlsError::of(&cause).is_some(), "{cause:?}");
            }
            Some(_) => {}
            None => panic!("no event"),
        }
    }
    // Settings for the wrong side are no plain text.
    Socket::<R, kinds::Push>::builder()
        .tls(&tls)
        .open()
        .expect("sound")
        .connect(&endpoint)
        .expect_err("a server's");
    Socket::<R, kinds::Pull>::builder()
        .tls(&client)
        .open()
        .expect("sound")
        .bind("tcp://127.0.0.1:*")
        .expect_err("a client's");
    done::<R, _>(pull.close()).await;
    drop(ca);
}

pub(crate) async fn forest_bus<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    let node = Node::<R>::builder(NodeSettings::new("n1").cluster_id("shop").topic("orders")).tls(&tls);
    let node = done::<R, _>(node.bind("127.0.0.1:0")).await.expect("a free port");
    let wire = Wire::to(node.local_addr().port());
    for address in [format!("{NAME}:{}", wire.port), wire.address()] {
        let settings = Settings::new([address]).cluster_id("shop");
        let bus = Client::<R>::builder(settings).tls(&client).open().expect("sound");
        let sent = done::<R, _>(bus.send_messages("orders", [body(100), body(50_000)])).await.expect("sent");
        assert_eq!(sent.ids.len(), 2);
        let got = done::<R, _>(bus.get_messages("orders", sent.ids[0], 10, false)).await.expect("there");
        assert!(got.messages.len() == 2 && got.messages[1][..] == body(50_000)[..]);
    }
    let plain = Settings::new([wire.address()]).cluster_id("shop");
    Client::<R>::builder(plain).open().expect_err("no settings for TLS");
    wire.assert_secret();
}
