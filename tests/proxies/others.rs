//! ZeroMQ sockets and clients of Forest Bus dial in the same way.

use bowline::driver::runtime::Runtime;
use bowline::error::Disconnect;
use bowline::forestbus::{Client, Node, NodeSettings, Settings};
use bowline::proxy::{ProxyFault, SocksReply};
use bowline::zmtp::{Socket, SocketEvent, kinds};

use crate::done;
use crate::servers::Server;
use crate::through::{connects, socks};

pub(crate) async fn zeromq_through_proxies<R: Runtime>() {
    let (one, other) = (Server::socks5(), Server::http());
    for proxy in [socks(&one), connects(&other)] {
        let rep = Socket::<R, kinds::Rep>::new();
        let bound = rep.bind("tcp://127.0.0.1:*").expect("a free port");
        let address = bound.strip_prefix("tcp://").expect("of TCP");
        for server in [&one, &other] {
            server.learns("target.invalid", address);
        }
        let req = Socket::<R, kinds::Req>::builder().proxy(proxy).open().expect("sound");
        done::<R, _>(req.connect_ready("tcp://target.invalid:77")).await.expect("the proxy connects");
        done::<R, _>(req.send("question")).await.expect("open");
        assert_eq!(&done::<R, _>(rep.recv()).await.expect("open")[0][..], b"question");
        done::<R, _>(rep.send("answer")).await.expect("open");
        assert_eq!(&done::<R, _>(req.recv()).await.expect("open")[0][..], b"answer");
    }
    assert_eq!(one.asked(), ["target.invalid 77"]);
    assert_eq!(other.asked(), ["CONNECT target.invalid:77 HTTP/1.1"]);

    let req = Socket::<R, kinds::Req>::builder().proxy(socks(&one)).open().expect("sound");
    req.connect("tcp://nowhere.invalid:1").expect("an endpoint");
    let failure = loop {
        let event = done::<R, _>(req.next_event()).await.expect("open");
        if let SocketEvent::DialFailed { failure, .. } = event {
            break failure;
        }
    };
    let Disconnect::Proxy(error) = &failure.cause else { panic!("{failure:?}") };
    assert_eq!(error.fault, ProxyFault::Socks(SocksReply::HostUnreachable));
    assert_eq!(
        failure.to_string(),
        format!("could not connect to nowhere.invalid:1 through the proxy {}", one.address)
    );
}

pub(crate) async fn forest_bus_through_proxies<R: Runtime>() {
    let settings = NodeSettings::new("node.invalid:3000").cluster_id("shop").topic("orders");
    let node = done::<R, _>(Node::<R>::builder(settings).bind("127.0.0.1:0")).await.expect("a free port");
    let address = node.local_addr().to_string();
    let (one, other) = (Server::socks5(), Server::http());
    for (proxy, first) in [(socks(&one), 1), (connects(&other), 2)] {
        for server in [&one, &other] {
            server.learns("node.invalid", &address);
        }
        let settings = Settings::new(["node.invalid:3000"]).cluster_id("shop");
        let client = Client::<R>::builder(settings).proxy(proxy).open().expect("sound");
        let appended = done::<R, _>(client.send_messages("orders", ["one"])).await.expect("sent");
        assert_eq!(appended.ids, [first]);
    }
    assert_eq!(one.asked().first().map(String::as_str), Some("node.invalid 3000"));
    assert_eq!(other.asked().first().map(String::as_str), Some("CONNECT node.invalid:3000 HTTP/1.1"));
}
