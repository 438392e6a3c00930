//! First light.
use bowline::tokio::{Client, Server};

#[tokio::test]
async fn a_call_over_a_socket() {
    let server = Server::builder()
        .on_request(|request| async move { Ok(request.into_body()) })
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    server.start().unwrap();
    let client = Client::connect(&server.local_addr().to_string()).await.unwrap();
    for i in 0..1000_u32 {
        let reply = client.call(1, &i.to_be_bytes()).await.unwrap();
        assert_eq!(&reply[..], i.to_be_bytes());
    }
    assert!(client.close().await.is_empty());
    server.shutdown().await;
}
