//! Bowline on async-std.
//!
//! Links run as tasks of async-std's executor. async-std is discontinued (RUSTSEC-2025-0052): use smol where you can choose.
//!
//! ```
//! # async_std::task::block_on(async {
//! use bowline::async_std::{Client, Server};
//!
//! let server = Server::builder()
//!     // Called for each request, as a task.
//!     .on_request(|request| async move { Ok(request.into_body()) })
//!     .bind("127.0.0.1:0")
//!     .await?;
//! server.start()?;
//!
//! let client = Client::connect(server.local_addr()).await?;
//! let reply = client.call(1, b"hello").await?;
//! assert_eq!(&reply[..], b"hello");
//! client.close().await;
//! server.shutdown().await;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! | type | for |
//! |---|---|
//! | [`Client`] | one link to one peer, which connects again by itself; calls, casts, received messages |
//! | [`Server`] | accepts links; handlers, push to its [`Peer`]s, limits, drain |
//! | [`Hub`] | messages to one, some or all peers of one server or of several, and to groups |
//! | [`Pool`] | several links to one target: routing, keys, fail-over, hedging |
//! | [`Manager`] | many links and servers by address |
//! | [`Exclusive`] | a connection with one owner, who takes turns: no lock, no task, no copy |
//! | [`Batcher`] | messages that gather while a batch is under way |
//! | [`Pending`] | a call that was started and is waited for later |
//! | [`Request`], [`Responder`], [`Context`] | what handlers get |
//! | [`stream`], [`Listener`] | links over sockets and streams of the program's own |
//!
//! The types are those of [`bowline::links`](crate::links), for this runtime; the page of each lists its methods and has an
//! example.

pub use bowline_async_std::async_std::{AsyncStd, Listener, Socket, Timer, stream};

bowline_links::names!(
    AsyncStd,
    "async-std",
    examples: "async_std",
    "# async_std::task::block_on(async {\n",
    "# Ok::<_, Box<dyn std::error::Error>>(())\n# })\n",
    ".await",
    "|request| async move { Ok(request.into_body()) }"
);

/// ZeroMQ sockets on async-std. Each type of socket is a type here; [`Socket`](zmtp::Socket) has their methods and an example.
/// [`bowline::zmtp`](crate::zmtp) has what does not depend on the runtime.
#[cfg(feature = "zmtp")]
pub mod zmtp {
    bowline_zmtp_driver::names!(
        super::AsyncStd,
        "async-std",
        examples: "async_std",
        "# async_std::task::block_on(async {\n",
        "# Ok::<_, Box<dyn std::error::Error>>(())\n# })\n",
        ".await"
    );
}

/// Forest Bus on async-std: clients of a cluster, and a node in memory for tests. [`bowline::forestbus`](crate::forestbus) has
/// what does not depend on the runtime.
#[cfg(feature = "forestbus")]
pub mod forestbus {
    bowline_forestbus_driver::names!(
        super::AsyncStd,
        "async-std",
        examples: "async_std",
        "# async_std::task::block_on(async {\n",
        "# Ok::<_, Box<dyn std::error::Error>>(())\n# })\n",
        ".await"
    );
}
