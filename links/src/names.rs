//! The names in a runtime's module: one list for all runtimes.
//!
//! The names are aliases, and rustdoc shows no methods of an alias without a script, and none that the type derefs to. So the
//! documentation of each alias lists them, with links, and has an example: the same text for all runtimes, of which the
//! words that differ are arguments of the macro.

/// Defines the handles of one runtime in the module where the macro is used. `$on` is the name of the runtime in the
/// documentation. An alias cannot be generic over its module, so this is a macro.
///
/// With `examples`, the documentation of each name has an example. It consists of the name of the module in `bowline`, the
/// lines before and behind an example, the suffix of a method that waits (`.await`, or nothing), and a handler that echoes.
#[doc(hidden)]
#[macro_export]
macro_rules! names {
    (
        $runtime:ty, $on:literal
        $(, examples: $module:literal, $begin:literal, $end:literal, $wait:literal, $echo:literal)?
    ) => {
        pub use $crate::bowline_core::link::CallId;
        pub use $crate::Handler;

        #[doc = concat!("The dialing end of a link on ", $on, ": [`Client`](bowline_links::Client).")]
        ///
        /// Its own methods: [`connect`](bowline_links::Client::connect),
        /// [`connect_lazy`](bowline_links::Client::connect_lazy), [`builder`](bowline_links::Client::builder),
        /// [`with_config`](bowline_links::Client::with_config), [`ready`](bowline_links::Client::ready),
        /// [`close`](bowline_links::Client::close). Those of every peer: [`call`](bowline_links::Peer::call),
        /// [`call_with`](bowline_links::Peer::call_with), [`start_call`](bowline_links::Peer::start_call),
        /// [`cast`](bowline_links::Peer::cast), [`cast_with`](bowline_links::Peer::cast_with),
        /// [`cast_many`](bowline_links::Peer::cast_many), [`cast_and_wait`](bowline_links::Peer::cast_and_wait),
        /// [`cast_and_wait_with`](bowline_links::Peer::cast_and_wait_with), [`receive`](bowline_links::Peer::receive),
        /// [`receive_timeout`](bowline_links::Peer::receive_timeout),
        /// [`receive_many`](bowline_links::Peer::receive_many), [`messages`](bowline_links::Peer::messages),
        /// [`next_event`](bowline_links::Peer::next_event),
        /// [`next_event_timeout`](bowline_links::Peer::next_event_timeout),
        /// [`next_errored`](bowline_links::Peer::next_errored),
        /// [`next_errored_timeout`](bowline_links::Peer::next_errored_timeout); and, without waiting:
        /// [`try_cast`](bowline_links::PeerCore::try_cast), [`try_cast_with`](bowline_links::PeerCore::try_cast_with),
        /// [`try_cast_many`](bowline_links::PeerCore::try_cast_many),
        /// [`try_receive`](bowline_links::PeerCore::try_receive),
        /// [`try_next_event`](bowline_links::PeerCore::try_next_event),
        /// [`try_next_errored`](bowline_links::PeerCore::try_next_errored), [`id`](bowline_links::PeerCore::id),
        /// [`remote_addr`](bowline_links::PeerCore::remote_addr), [`local_addr`](bowline_links::PeerCore::local_addr),
        /// [`identity`](bowline_links::PeerCore::identity), [`secured`](bowline_links::PeerCore::secured),
        /// [`withdraw`](bowline_links::PeerCore::withdraw), [`state`](bowline_links::PeerCore::state),
        /// [`is_open`](bowline_links::PeerCore::is_open), [`counters`](bowline_links::PeerCore::counters),
        /// [`stats`](bowline_links::PeerCore::stats), [`last_disconnect`](bowline_links::PeerCore::last_disconnect),
        /// [`reconnect_now`](bowline_links::PeerCore::reconnect_now), [`abort`](bowline_links::PeerCore::abort),
        /// [`begin_close`](bowline_links::PeerCore::begin_close).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::", $module, "::{Client, Server};\n",
            "\n",
            "let server = Server::builder().on_request(", $echo, ").bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "server.start()?;\n",
            "\n",
            "let client = Client::connect(server.local_addr())", $wait, "?;\n",
            "assert_eq!(&client.call(1, b\"hello\")", $wait, "?[..], b\"hello\");\n",
            "client.close()", $wait, ";\n",
            "server.shutdown()", $wait, ";\n")])?
        pub type Client<F = $crate::bowline_core::frame::native::Native> = $crate::Client<$runtime, F>;

        #[doc = concat!("Builds a [`Client`](bowline_links::Client) on ", $on, ": [`ClientBuilder`](bowline_links::ClientBuilder).")]
        ///
        /// Methods: [`config`](bowline_links::ClientBuilder::config), [`tls`](bowline_links::ClientBuilder::tls),
        /// [`endpoint`](bowline_links::ClientBuilder::endpoint), [`connector`](bowline_links::ClientBuilder::connector),
        /// [`over`](bowline_links::ClientBuilder::over), [`monitor`](bowline_links::ClientBuilder::monitor); handlers:
        /// [`on_request`](bowline_links::ClientBuilder::on_request),
        /// [`on_request_inline`](bowline_links::ClientBuilder::on_request_inline),
        /// [`on_request_later`](bowline_links::ClientBuilder::on_request_later),
        /// [`on_message`](bowline_links::ClientBuilder::on_message),
        /// [`on_message_inline`](bowline_links::ClientBuilder::on_message_inline),
        /// [`on_connect`](bowline_links::ClientBuilder::on_connect),
        /// [`on_disconnect`](bowline_links::ClientBuilder::on_disconnect); and at the end
        /// [`connect`](bowline_links::ClientBuilder::connect),
        /// [`connect_lazy`](bowline_links::ClientBuilder::connect_lazy). On threads also
        /// [`io_group`](bowline_links::ClientBuilder::io_group),
        /// [`handler_threads`](bowline_links::ClientBuilder::handler_threads).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use std::time::Duration;\n",
            "\n",
            "use bowline::", $module, "::{Client, Server};\n",
            "use bowline::{Config, ReconnectPolicy};\n",
            "\n",
            "let server = Server::builder().on_request(", $echo, ").bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "server.start()?;\n",
            "\n",
            "let reconnect = ReconnectPolicy::backoff(Duration::from_millis(10), Duration::from_secs(5));\n",
            "let client = Client::builder(server.local_addr())\n",
            "    .config(Config::builder().reconnect(reconnect).call_timeout(Duration::from_secs(2)).build()?)\n",
            "    .on_message_inline(|_, message| println!(\"pushed: {} bytes\", message.body.len()))\n",
            "    .connect()", $wait, "?;\n",
            "assert_eq!(&client.call(1, b\"hello\")", $wait, "?[..], b\"hello\");\n")])?
        pub type ClientBuilder<F = $crate::bowline_core::frame::native::Native> = $crate::ClientBuilder<$runtime, F>;

        #[doc = concat!("The accepting end of links on ", $on, ": [`Server`](bowline_links::Server).")]
        ///
        /// Methods: [`builder`](bowline_links::Server::builder), [`with_config`](bowline_links::Server::with_config),
        /// [`start`](bowline_links::Server::start), [`serve`](bowline_links::Server::serve),
        /// [`serve_stream`](bowline_links::Server::serve_stream), [`local_addr`](bowline_links::Server::local_addr),
        /// [`peers`](bowline_links::Server::peers), [`peer`](bowline_links::Server::peer),
        /// [`hub`](bowline_links::Server::hub), [`broadcast`](bowline_links::Server::broadcast),
        /// [`withdraw`](bowline_links::Server::withdraw), [`accept_counters`](bowline_links::Server::accept_counters),
        /// [`accept_errors`](bowline_links::Server::accept_errors),
        /// [`memory_held`](bowline_links::Server::memory_held),
        /// [`stop_accepting`](bowline_links::Server::stop_accepting), [`shutdown`](bowline_links::Server::shutdown),
        /// [`shutdown_within`](bowline_links::Server::shutdown_within),
        /// [`begin_shutdown`](bowline_links::Server::begin_shutdown),
        /// [`begin_shutdown_within`](bowline_links::Server::begin_shutdown_within),
        /// [`drained`](bowline_links::Server::drained).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::", $module, "::{Client, Server};\n",
            "\n",
            "let server = Server::builder().on_request(", $echo, ").bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "server.start()?;\n",
            "\n",
            "let client = Client::connect(server.local_addr())", $wait, "?;\n",
            "assert_eq!(&client.call(1, b\"hello\")", $wait, "?[..], b\"hello\");\n",
            "// A push to every client. The message is encoded once.\n",
            "assert_eq!(server.broadcast(2, b\"news\").queued, 1);\n",
            "assert_eq!(&client.receive()", $wait, "?.body[..], b\"news\");\n",
            "server.shutdown()", $wait, ";\n")])?
        pub type Server<F = $crate::bowline_core::frame::native::Native> = $crate::Server<$runtime, F>;

        #[doc = concat!("Builds a [`Server`](bowline_links::Server) on ", $on, ": [`ServerBuilder`](bowline_links::ServerBuilder).")]
        ///
        /// Methods: [`config`](bowline_links::ServerBuilder::config), [`tls`](bowline_links::ServerBuilder::tls),
        /// [`hub`](bowline_links::ServerBuilder::hub), [`monitor`](bowline_links::ServerBuilder::monitor),
        /// [`on_event`](bowline_links::ServerBuilder::on_event), [`verifier`](bowline_links::ServerBuilder::verifier),
        /// [`verifier_inline`](bowline_links::ServerBuilder::verifier_inline),
        /// [`verifier_later`](bowline_links::ServerBuilder::verifier_later),
        /// [`authorize`](bowline_links::ServerBuilder::authorize); handlers:
        /// [`on_request`](bowline_links::ServerBuilder::on_request),
        /// [`on_request_inline`](bowline_links::ServerBuilder::on_request_inline),
        /// [`on_request_later`](bowline_links::ServerBuilder::on_request_later),
        /// [`on_message`](bowline_links::ServerBuilder::on_message),
        /// [`on_message_inline`](bowline_links::ServerBuilder::on_message_inline),
        /// [`on_connect`](bowline_links::ServerBuilder::on_connect),
        /// [`on_disconnect`](bowline_links::ServerBuilder::on_disconnect); and at the end
        /// [`bind`](bowline_links::ServerBuilder::bind), [`bound`](bowline_links::ServerBuilder::bound),
        /// [`listen_on`](bowline_links::ServerBuilder::listen_on). On threads also
        /// [`io_group`](bowline_links::ServerBuilder::io_group),
        /// [`handler_threads`](bowline_links::ServerBuilder::handler_threads).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::", $module, "::{Client, Server};\n",
            "use bowline::{AcceptLimits, Config};\n",
            "\n",
            "let mut limits = AcceptLimits::default();\n",
            "limits.connections = 100;\n",
            "let server = Server::with_config(Config::builder().accept_limits(limits).build()?)\n",
            "    .on_connect(|peer| println!(\"{:?} is here\", peer.id()))\n",
            "    .on_request(", $echo, ")\n",
            "    .on_disconnect(|peer, why| println!(\"{:?} has gone: {why}\", peer.id()))\n",
            "    .bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "server.start()?;\n",
            "let client = Client::connect(server.local_addr())", $wait, "?;\n",
            "assert_eq!(&client.call(1, b\"hello\")", $wait, "?[..], b\"hello\");\n")])?
        pub type ServerBuilder<F = $crate::bowline_core::frame::native::Native> = $crate::ServerBuilder<$runtime, F>;

        #[doc = concat!("The other side of a link on ", $on, ": [`Peer`](bowline_links::Peer). A client is one, and handlers get one.")]
        ///
        /// Those of every peer: [`call`](bowline_links::Peer::call), [`call_with`](bowline_links::Peer::call_with),
        /// [`start_call`](bowline_links::Peer::start_call), [`cast`](bowline_links::Peer::cast),
        /// [`cast_with`](bowline_links::Peer::cast_with), [`cast_many`](bowline_links::Peer::cast_many),
        /// [`cast_and_wait`](bowline_links::Peer::cast_and_wait),
        /// [`cast_and_wait_with`](bowline_links::Peer::cast_and_wait_with), [`receive`](bowline_links::Peer::receive),
        /// [`receive_timeout`](bowline_links::Peer::receive_timeout),
        /// [`receive_many`](bowline_links::Peer::receive_many), [`messages`](bowline_links::Peer::messages),
        /// [`next_event`](bowline_links::Peer::next_event),
        /// [`next_event_timeout`](bowline_links::Peer::next_event_timeout),
        /// [`next_errored`](bowline_links::Peer::next_errored),
        /// [`next_errored_timeout`](bowline_links::Peer::next_errored_timeout); and, without waiting:
        /// [`try_cast`](bowline_links::PeerCore::try_cast), [`try_cast_with`](bowline_links::PeerCore::try_cast_with),
        /// [`try_cast_many`](bowline_links::PeerCore::try_cast_many),
        /// [`try_receive`](bowline_links::PeerCore::try_receive),
        /// [`try_next_event`](bowline_links::PeerCore::try_next_event),
        /// [`try_next_errored`](bowline_links::PeerCore::try_next_errored), [`id`](bowline_links::PeerCore::id),
        /// [`remote_addr`](bowline_links::PeerCore::remote_addr), [`local_addr`](bowline_links::PeerCore::local_addr),
        /// [`identity`](bowline_links::PeerCore::identity), [`secured`](bowline_links::PeerCore::secured),
        /// [`withdraw`](bowline_links::PeerCore::withdraw), [`state`](bowline_links::PeerCore::state),
        /// [`is_open`](bowline_links::PeerCore::is_open), [`counters`](bowline_links::PeerCore::counters),
        /// [`stats`](bowline_links::PeerCore::stats), [`last_disconnect`](bowline_links::PeerCore::last_disconnect),
        /// [`reconnect_now`](bowline_links::PeerCore::reconnect_now), [`abort`](bowline_links::PeerCore::abort),
        /// [`begin_close`](bowline_links::PeerCore::begin_close).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::", $module, "::{Client, Server};\n",
            "\n",
            "let server = Server::builder().on_request(", $echo, ").bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "server.start()?;\n",
            "// The client answers calls, too.\n",
            "let client = Client::builder(server.local_addr()).on_request(", $echo, ").connect()", $wait, "?;\n",
            "client.call(1, b\"hello\")", $wait, "?;\n",
            "\n",
            "// The server calls the client, over the connection that the client made.\n",
            "let peer = server.peers().remove(0);\n",
            "assert_eq!(&peer.call(2, b\"who are you?\")", $wait, "?[..], b\"who are you?\");\n")])?
        pub type Peer<F = $crate::bowline_core::frame::native::Native> = $crate::Peer<$runtime, F>;

        #[doc = concat!("The peers of servers on ", $on, ", by id and in groups: [`Hub`](bowline_links::Hub).")]
        ///
        /// Methods: [`new`](bowline_links::Hub::new), [`peer`](bowline_links::Hub::peer),
        /// [`peers`](bowline_links::Hub::peers), [`cast_to`](bowline_links::HubCore::cast_to),
        /// [`broadcast`](bowline_links::HubCore::broadcast), [`broadcast_with`](bowline_links::HubCore::broadcast_with),
        /// [`publish`](bowline_links::HubCore::publish), [`publish_with`](bowline_links::HubCore::publish_with),
        /// [`join`](bowline_links::HubCore::join), [`leave`](bowline_links::HubCore::leave),
        /// [`members`](bowline_links::HubCore::members), [`groups`](bowline_links::HubCore::groups),
        /// [`len`](bowline_links::HubCore::len), [`is_empty`](bowline_links::HubCore::is_empty).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::", $module, "::{Client, Hub, Server};\n",
            "\n",
            "let hub = Hub::new();\n",
            "let server = Server::builder().hub(&hub).on_request(", $echo, ").bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "server.start()?;\n",
            "let client = Client::connect(server.local_addr())", $wait, "?;\n",
            "client.call(1, b\"hello\")", $wait, "?;\n",
            "\n",
            "assert!(hub.join(\"news\", server.peers()[0].id()));\n",
            "assert_eq!(hub.publish(\"news\", 2, b\"it rains\").queued, 1);\n",
            "assert_eq!(&client.receive()", $wait, "?.body[..], b\"it rains\");\n")])?
        pub type Hub<F = $crate::bowline_core::frame::native::Native> = $crate::Hub<$runtime, F>;

        #[doc = concat!("Several links to one target on ", $on, ": [`Pool`](bowline_links::Pool).")]
        ///
        /// Methods: [`builder`](bowline_links::Pool::builder), [`with_config`](bowline_links::Pool::with_config),
        /// [`call`](bowline_links::Pool::call), [`call_with`](bowline_links::Pool::call_with),
        /// [`call_for`](bowline_links::Pool::call_for), [`for_key`](bowline_links::Pool::for_key),
        /// [`cast`](bowline_links::Pool::cast), [`cast_with`](bowline_links::Pool::cast_with),
        /// [`ready`](bowline_links::Pool::ready), [`add`](bowline_links::Pool::add),
        /// [`remove`](bowline_links::Pool::remove), [`endpoints`](bowline_links::Pool::endpoints),
        /// [`clients`](bowline_links::Pool::clients), [`leader`](bowline_links::Pool::leader),
        /// [`set_leader`](bowline_links::Pool::set_leader), [`close`](bowline_links::Pool::close).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::", $module, "::{Pool, Server};\n",
            "use bowline::{CallOptions, Policy};\n",
            "\n",
            "let server = Server::builder().on_request(", $echo, ").bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "server.start()?;\n",
            "\n",
            "let pool = Pool::builder().endpoint(server.local_addr()).policy(Policy::PowerOfTwo).open()?;\n",
            "pool.ready()", $wait, "?;\n",
            "// Calls for one key go to one endpoint.\n",
            "let reply = pool.call_for(\"red\", CallOptions::new(1), b\"hello\")", $wait, "?;\n",
            "assert_eq!(&reply[..], b\"hello\");\n",
            "pool.close()", $wait, ";\n")])?
        pub type Pool<F = $crate::bowline_core::frame::native::Native> = $crate::Pool<$runtime, F>;

        #[doc = concat!("Builds a [`Pool`](bowline_links::Pool) on ", $on, ": [`PoolBuilder`](bowline_links::PoolBuilder).")]
        ///
        /// Methods: [`endpoint`](bowline_links::PoolBuilder::endpoint),
        /// [`connections`](bowline_links::PoolBuilder::connections), [`policy`](bowline_links::PoolBuilder::policy),
        /// [`blacklist`](bowline_links::PoolBuilder::blacklist), [`hedging`](bowline_links::PoolBuilder::hedging),
        /// [`redirects`](bowline_links::PoolBuilder::redirects), [`attempts`](bowline_links::PoolBuilder::attempts),
        /// [`monitor`](bowline_links::PoolBuilder::monitor), [`links`](bowline_links::PoolBuilder::links),
        /// [`open`](bowline_links::PoolBuilder::open).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::", $module, "::{Pool, Server};\n",
            "use bowline::{Blacklist, Hedging};\n",
            "\n",
            "let server = Server::builder().on_request(", $echo, ").bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "server.start()?;\n",
            "\n",
            "let pool = Pool::builder()\n",
            "    .endpoint(server.local_addr())\n",
            "    .connections(2)\n",
            "    .blacklist(Blacklist::default())\n",
            "    .hedging(Hedging::default())\n",
            "    .open()?;\n",
            "pool.ready()", $wait, "?;\n",
            "assert_eq!(&pool.call(1, b\"hello\")", $wait, "?[..], b\"hello\");\n")])?
        pub type PoolBuilder<F = $crate::bowline_core::frame::native::Native> = $crate::PoolBuilder<$runtime, F>;

        #[doc = concat!("Links and servers by address on ", $on, ": [`Manager`](bowline_links::Manager).")]
        ///
        /// Methods: [`new`](bowline_links::Manager::new), [`with_defaults`](bowline_links::Manager::with_defaults),
        /// [`dial`](bowline_links::Manager::dial), [`dial_with`](bowline_links::Manager::dial_with),
        /// [`listen`](bowline_links::Manager::listen), [`write`](bowline_links::Manager::write),
        /// [`write_with`](bowline_links::Manager::write_with), [`client`](bowline_links::Manager::client),
        /// [`server`](bowline_links::Manager::server), [`addresses`](bowline_links::Manager::addresses),
        /// [`close_link`](bowline_links::Manager::close_link),
        /// [`close_listener`](bowline_links::Manager::close_listener), [`close_all`](bowline_links::Manager::close_all),
        /// [`close_and_wait`](bowline_links::Manager::close_and_wait).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::", $module, "::{Manager, Server};\n",
            "use bowline::Config;\n",
            "\n",
            "let manager = Manager::new();\n",
            "let server = manager.listen(\"127.0.0.1:0\", Server::builder().on_request(", $echo, "))", $wait, "?;\n",
            "let address = server.local_addr().to_string();\n",
            "\n",
            "let client = manager.dial(&address, Config::default())", $wait, "?;\n",
            "assert_eq!(&client.call(1, b\"hello\")", $wait, "?[..], b\"hello\");\n",
            "// A message to an address, over the link that is there.\n",
            "manager.write(&address, b\"news\")", $wait, "?;\n",
            "manager.close_all();\n")])?
        pub type Manager<F = $crate::bowline_core::frame::native::Native> = $crate::Manager<$runtime, F>;

        #[doc = concat!("A connection with one owner on ", $on, ", without a lock and without a task: [`Exclusive`](bowline_links::Exclusive).")]
        ///
        /// Methods that wait: [`connect`](bowline_links::Exclusive::connect),
        /// [`connect_with`](bowline_links::Exclusive::connect_with), [`over`](bowline_links::Exclusive::over),
        /// [`accept`](bowline_links::Exclusive::accept), [`turn`](bowline_links::Exclusive::turn),
        /// [`close`](bowline_links::Exclusive::close). Methods that do not:
        /// [`set_spin`](bowline_links::Exclusive::set_spin), [`secured`](bowline_links::Exclusive::secured),
        /// [`call`](bowline_links::Owned::call), [`call_with`](bowline_links::Owned::call_with),
        /// [`cast`](bowline_links::Owned::cast), [`cast_with`](bowline_links::Owned::cast_with),
        /// [`cast_many`](bowline_links::Owned::cast_many), [`in_flight`](bowline_links::Owned::in_flight),
        /// [`state`](bowline_links::Owned::state), [`counters`](bowline_links::Owned::counters),
        /// [`begin_close`](bowline_links::Owned::begin_close),
        /// [`take_undelivered`](bowline_links::Owned::take_undelivered).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::", $module, "::{CallId, Exclusive, Handler, Server};\n",
            "\n",
            "#[derive(Default)]\n",
            "struct Replies(Vec<Vec<u8>>);\n",
            "\n",
            "impl Handler for Replies {\n",
            "    fn reply(&mut self, _: CallId, body: &[u8]) {\n",
            "        self.0.push(body.to_vec());\n",
            "    }\n",
            "}\n",
            "\n",
            "let server = Server::builder().on_request(", $echo, ").bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "server.start()?;\n",
            "\n",
            "let mut link = Exclusive::connect(server.local_addr())", $wait, "?;\n",
            "let mut replies = Replies::default();\n",
            "for number in 0..10_u8 {\n",
            "    link.call(1, &[number])?;\n",
            "}\n",
            "while replies.0.len() < 10 {\n",
            "    link.turn(&mut replies, None)", $wait, "?;\n",
            "}\n",
            "link.close(&mut replies)", $wait, ";\n")])?
        pub type Exclusive<F = $crate::bowline_core::frame::native::Native> = $crate::Exclusive<$runtime, F>;

        #[doc = concat!("A call under way on ", $on, ", from [`start_call`](bowline_links::Peer::start_call): [`Pending`](bowline_links::Pending).")]
        ///
        /// Methods: [`wait`](bowline_links::Pending::wait), [`id`](bowline_links::Pending::id). It is also a future of
        /// its reply.
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::CallOptions;\n",
            "use bowline::", $module, "::{Client, Server};\n",
            "\n",
            "let server = Server::builder().on_request(", $echo, ").bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "server.start()?;\n",
            "let client = Client::connect(server.local_addr())", $wait, "?;\n",
            "\n",
            "// Both requests are on their way before the first reply is waited for.\n",
            "let one = client.start_call(CallOptions::new(1), b\"one\")", $wait, "?;\n",
            "let two = client.start_call(CallOptions::new(1), b\"two\")", $wait, "?;\n",
            "assert_eq!(&one.wait()", $wait, "?[..], b\"one\");\n",
            "assert_eq!(&two.wait()", $wait, "?[..], b\"two\");\n")])?
        pub type Pending<F = $crate::bowline_core::frame::native::Native> = $crate::Pending<$runtime, F>;

        #[doc = concat!("Received messages one after another on ", $on, ": [`Messages`](bowline_links::Messages), a stream where tasks wait and an iterator on threads.")]
        pub type Messages<F = $crate::bowline_core::frame::native::Native> = $crate::Messages<$runtime, F>;

        #[doc = concat!("A request as handlers of [`on_request`](bowline_links::ServerBuilder::on_request) get it on ", $on, ": [`Request`](bowline_links::Request).")]
        ///
        /// Methods: [`peer`](bowline_links::Request::peer), [`into_body`](bowline_links::Request::into_body),
        /// [`body`](bowline_links::RequestCore::body), [`method`](bowline_links::RequestCore::method),
        /// [`id`](bowline_links::RequestCore::id), [`attempt`](bowline_links::RequestCore::attempt),
        /// [`remaining`](bowline_links::RequestCore::remaining), [`extensions`](bowline_links::RequestCore::extensions),
        /// [`identity`](bowline_links::RequestCore::identity), [`peer_id`](bowline_links::RequestCore::peer_id),
        /// [`is_cancelled`](bowline_links::RequestCore::is_cancelled),
        /// [`responder`](bowline_links::RequestCore::responder).
        pub type Request<F = $crate::bowline_core::frame::native::Native> = $crate::Request<$runtime, F>;

        #[doc = concat!("Gathers messages into batches on ", $on, ": [`Batcher`](bowline_links::batcher::Batcher).")]
        ///
        /// Methods: [`builder`](bowline_links::batcher::Batcher::builder),
        /// [`send`](bowline_links::batcher::Batcher::send), [`try_send`](bowline_links::batcher::Batcher::try_send),
        /// [`send_with_reference`](bowline_links::batcher::Batcher::send_with_reference),
        /// [`try_send_with_reference`](bowline_links::batcher::Batcher::try_send_with_reference),
        /// [`send_and_forget`](bowline_links::batcher::Batcher::send_and_forget),
        /// [`try_send_and_forget`](bowline_links::batcher::Batcher::try_send_and_forget),
        /// [`results`](bowline_links::batcher::Batcher::results), [`stats`](bowline_links::batcher::Batcher::stats),
        /// [`pending`](bowline_links::batcher::Batcher::pending),
        /// [`last_cause`](bowline_links::batcher::Batcher::last_cause), [`sink`](bowline_links::batcher::Batcher::sink),
        /// [`is_closed`](bowline_links::batcher::Batcher::is_closed), [`close`](bowline_links::batcher::Batcher::close).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::batcher::EachCall;\n",
            "use bowline::", $module, "::{Batcher, Client, Server};\n",
            "\n",
            "let server = Server::builder().on_request(", $echo, ").bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "server.start()?;\n",
            "let client = Client::connect(server.local_addr())", $wait, "?;\n",
            "\n",
            "let batcher = Batcher::builder(EachCall::<_, Vec<u8>>::new(client, 1)).open()?;\n",
            "assert_eq!(&batcher.send(\"hello\")", $wait, "?[..], b\"hello\");\n",
            "batcher.close()", $wait, ";\n")])?
        pub type Batcher<S, T = ()> = $crate::batcher::Batcher<$runtime, S, T>;

        #[doc = concat!("Builds a [`Batcher`](bowline_links::batcher::Batcher) on ", $on, ": [`BatcherBuilder`](bowline_links::batcher::BatcherBuilder).")]
        ///
        /// Methods: [`references`](bowline_links::batcher::BatcherBuilder::references),
        /// [`name`](bowline_links::batcher::BatcherBuilder::name),
        /// [`settings`](bowline_links::batcher::BatcherBuilder::settings),
        /// [`buffer`](bowline_links::batcher::BatcherBuilder::buffer),
        /// [`buffer_bytes`](bowline_links::batcher::BatcherBuilder::buffer_bytes),
        /// [`linger`](bowline_links::batcher::BatcherBuilder::linger),
        /// [`retries`](bowline_links::batcher::BatcherBuilder::retries),
        /// [`at_least_once`](bowline_links::batcher::BatcherBuilder::at_least_once),
        /// [`delivery_timeout`](bowline_links::batcher::BatcherBuilder::delivery_timeout),
        /// [`places`](bowline_links::batcher::BatcherBuilder::places),
        /// [`close_within`](bowline_links::batcher::BatcherBuilder::close_within),
        /// [`on_failure`](bowline_links::batcher::BatcherBuilder::on_failure),
        /// [`open`](bowline_links::batcher::BatcherBuilder::open).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use std::time::Duration;\n",
            "\n",
            "use bowline::batcher::EachCall;\n",
            "use bowline::", $module, "::{Batcher, Client, Server};\n",
            "\n",
            "let server = Server::builder().on_request(", $echo, ").bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "server.start()?;\n",
            "let client = Client::connect(server.local_addr())", $wait, "?;\n",
            "\n",
            "let batcher = Batcher::builder(EachCall::<_, Vec<u8>>::new(client, 1))\n",
            "    .buffer(10_000)\n",
            "    .linger(Duration::from_millis(5))\n",
            "    .delivery_timeout(Duration::from_secs(30))\n",
            "    .open()?;\n",
            "assert_eq!(&batcher.send(\"hello\")", $wait, "?[..], b\"hello\");\n",
            "batcher.close()", $wait, ";\n")])?
        pub type BatcherBuilder<S, T = ()> = $crate::batcher::BatcherBuilder<$runtime, S, T>;

        #[doc = concat!("The results of messages that were sent with a reference on ", $on, ": [`SendResults`](bowline_links::batcher::SendResults).")]
        ///
        /// Methods: [`recv`](bowline_links::batcher::SendResults::recv),
        /// [`try_recv`](bowline_links::batcher::SendResults::try_recv),
        /// [`outstanding`](bowline_links::batcher::SendResults::outstanding).
        pub type SendResults<S, T = ()> = $crate::batcher::SendResults<$runtime, S, T>;

        /// The operations of an inline handler besides answering: [`Context`](bowline_links::Context). None of them waits.
        ///
        /// Methods: [`peer`](bowline_links::Context::peer), [`peer_id`](bowline_links::ContextCore::peer_id),
        /// [`identity`](bowline_links::ContextCore::identity), [`remote_addr`](bowline_links::ContextCore::remote_addr),
        /// [`local_addr`](bowline_links::ContextCore::local_addr), [`try_cast`](bowline_links::ContextCore::try_cast),
        /// [`try_cast_with`](bowline_links::ContextCore::try_cast_with).
        pub type Context<'a, F = $crate::bowline_core::frame::native::Native> =
            $crate::Context<'a, $runtime, F>;

        /// The right to answer a request later: [`Responder`](bowline_links::Responder).
        ///
        /// Methods: [`reply`](bowline_links::Responder::reply), [`reply_as`](bowline_links::Responder::reply_as),
        /// [`fail`](bowline_links::Responder::fail), [`later`](bowline_links::Responder::later),
        /// [`watch`](bowline_links::Responder::watch), [`is_cancelled`](bowline_links::Responder::is_cancelled).
        pub type Responder<F = $crate::bowline_core::frame::native::Native> = $crate::Responder<F>;
    };
}
