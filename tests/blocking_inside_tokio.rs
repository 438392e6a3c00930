//! The blocking client starts no runtime and works inside one.

use bowline::blocking;
use bowline::tokio::{Client, Request, Server};

#[tokio::test]
async fn a_blocking_client_on_a_runtimes_own_thread() {
    let server = blocking::Server::builder()
        .on_request(|request| Ok(request.into_body()))
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    let client = blocking::Client::connect(server.local_addr().to_string()).expect("it listens");
    for i in 0..10_u8 {
        assert_eq!(&client.call(1, &[i]).expect("a reply")[..], &[i]);
    }
    assert!(client.close().is_empty());
    server.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_and_tokio_speak_to_each_other() {
    let server = Server::builder()
        .on_request(|request: Request| async move { Ok(request.into_body()) })
        .bind("127.0.0.1:0")
        .await
        .expect("a free port");
    server.start().expect("a runtime");
    let address = server.local_addr().to_string();
    let replies = tokio::task::spawn_blocking(move || {
        let client = blocking::Client::connect(&address).expect("it listens");
        let replies: Vec<_> = (0..100_u8).map(|i| client.call(1, &[i]).expect("a reply")[0]).collect();
        client.close();
        replies
    });
    assert_eq!(replies.await.expect("no panic"), (0..100).collect::<Vec<u8>>());
    server.shutdown().await;
}

#[test]
fn a_tokio_client_outside_of_a_runtime_is_an_error_and_no_panic() {
    let result = Client::connect_lazy("127.0.0.1:1").map(drop);
    assert!(matches!(result, Err(bowline::ConnectError::Runtime(_))), "{result:?}");
}
