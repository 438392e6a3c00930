//! The names in a runtime's module: one list for all runtimes.

/// Names the sockets of one runtime, in the module where it stands. `$on` is what its documentation calls the
/// runtime; the rest is what the examples in that documentation consist of (see `bowline_links::names!`).
#[doc(hidden)]
#[macro_export]
macro_rules! names {
    (
        $runtime:ty, $on:literal
        $(, examples: $module:literal, $begin:literal, $end:literal, $wait:literal)?
    ) => {
        $crate::names! { @types $runtime, $on, Req Rep Dealer Router Pub Sub XPub XSub Push Pull Pair Client Server
            Radio Dish Scatter Gather Channel Peer }

        #[doc = concat!("A socket of any type on ", $on, ": [`Socket`](bowline_zmtp_driver::Socket).")]
        ///
        /// Methods of every type: [`new`](bowline_zmtp_driver::Socket::new),
        /// [`builder`](bowline_zmtp_driver::Socket::builder), [`bind`](bowline_zmtp_driver::Socket::bind),
        /// [`connect`](bowline_zmtp_driver::Socket::connect),
        /// [`connect_ready`](bowline_zmtp_driver::Socket::connect_ready),
        /// [`unbind`](bowline_zmtp_driver::Socket::unbind), [`disconnect`](bowline_zmtp_driver::Socket::disconnect),
        /// [`close`](bowline_zmtp_driver::Socket::close), [`stats`](bowline_zmtp_driver::Socket::stats),
        /// [`next_event`](bowline_zmtp_driver::Socket::next_event),
        /// [`take_event`](bowline_zmtp_driver::Socket::take_event), [`pipes`](bowline_zmtp_driver::Socket::pipes). Of
        /// those that send: [`send`](bowline_zmtp_driver::Socket::send),
        /// [`send_timeout`](bowline_zmtp_driver::Socket::send_timeout),
        /// [`try_send`](bowline_zmtp_driver::Socket::try_send), [`send_many`](bowline_zmtp_driver::Socket::send_many). Of
        /// those that receive: [`recv`](bowline_zmtp_driver::Socket::recv),
        /// [`recv_timeout`](bowline_zmtp_driver::Socket::recv_timeout),
        /// [`try_recv`](bowline_zmtp_driver::Socket::try_recv), [`recv_into`](bowline_zmtp_driver::Socket::recv_into),
        /// [`recv_with`](bowline_zmtp_driver::Socket::recv_with), [`recv_many`](bowline_zmtp_driver::Socket::recv_many).
        /// Of those that do both, or receive: [`split`](bowline_zmtp_driver::Socket::split),
        /// [`messages`](bowline_zmtp_driver::Socket::messages). Of some types:
        /// [`subscribe`](bowline_zmtp_driver::Socket::subscribe),
        /// [`unsubscribe`](bowline_zmtp_driver::Socket::unsubscribe),
        /// [`subscriptions`](bowline_zmtp_driver::Socket::subscriptions),
        /// [`wait_for_subscribers`](bowline_zmtp_driver::Socket::wait_for_subscribers),
        /// [`recv_from`](bowline_zmtp_driver::Socket::recv_from),
        /// [`routing_id`](bowline_zmtp_driver::Socket::routing_id),
        /// [`connect_as`](bowline_zmtp_driver::Socket::connect_as),
        /// [`subscribe_peer`](bowline_zmtp_driver::Socket::subscribe_peer),
        /// [`unsubscribe_peer`](bowline_zmtp_driver::Socket::unsubscribe_peer).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::", $module, "::zmtp::{Rep, Req};\n",
            "\n",
            "let rep = Rep::new();\n",
            "let endpoint = rep.bind(\"tcp://127.0.0.1:*\")?;\n",
            "let req = Req::new();\n",
            "req.connect(&endpoint)?;\n",
            "req.send(\"how many?\")", $wait, "?;\n",
            "assert_eq!(&rep.recv()", $wait, "?[0][..], b\"how many?\");\n",
            "rep.send(\"42\")", $wait, "?;\n",
            "assert_eq!(&req.recv()", $wait, "?[0][..], b\"42\");\n")])?
        pub type Socket<K> = $crate::Socket<$runtime, K>;

        #[doc = concat!("Sockets on ", $on, " that run together, and end together: [`Context`](bowline_zmtp_driver::Context).")]
        ///
        /// Methods: [`builder`](bowline_zmtp_driver::Context::builder), [`name`](bowline_zmtp_driver::Context::name),
        /// [`socket`](bowline_zmtp_driver::Context::socket), [`sockets`](bowline_zmtp_driver::Context::sockets),
        /// [`is_shut_down`](bowline_zmtp_driver::Context::is_shut_down),
        /// [`shutdown`](bowline_zmtp_driver::Context::shutdown),
        /// [`shutdown_within`](bowline_zmtp_driver::Context::shutdown_within).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::", $module, "::zmtp::Context;\n",
            "use bowline::zmtp::kinds;\n",
            "\n",
            "let context = Context::builder().name(\"orders\").max_sockets(10).open()?;\n",
            "let pull = context.socket::<kinds::Pull>()?;\n",
            "let endpoint = pull.bind(\"tcp://127.0.0.1:*\")?;\n",
            "let push = context.socket::<kinds::Push>()?;\n",
            "push.connect_ready(&endpoint)", $wait, "?;\n",
            "push.send(\"one\")", $wait, "?;\n",
            "assert_eq!(&pull.recv()", $wait, "?[0][..], b\"one\");\n",
            "// Ends both sockets, and returns what was not sent.\n",
            "assert!(context.shutdown()", $wait, ".is_empty());\n")])?
        pub type Context = $crate::Context<$runtime>;

        #[doc = concat!("Settings of a context on ", $on, ": [`ContextBuilder`](bowline_zmtp_driver::ContextBuilder).")]
        ///
        /// Methods: [`name`](bowline_zmtp_driver::ContextBuilder::name),
        /// [`max_sockets`](bowline_zmtp_driver::ContextBuilder::max_sockets),
        /// [`accept_limits`](bowline_zmtp_driver::ContextBuilder::accept_limits),
        /// [`linger`](bowline_zmtp_driver::ContextBuilder::linger), [`open`](bowline_zmtp_driver::ContextBuilder::open).
        /// On threads also [`io_group`](bowline_zmtp_driver::ContextBuilder::io_group),
        /// [`io_threads`](bowline_zmtp_driver::ContextBuilder::io_threads). [`Context`] has an example.
        pub type ContextBuilder = $crate::ContextBuilder<$runtime>;

        #[doc = concat!("Settings of a socket on ", $on, ": [`SocketBuilder`](bowline_zmtp_driver::SocketBuilder).")]
        ///
        /// Methods: [`options`](bowline_zmtp_driver::SocketBuilder::options),
        /// [`name`](bowline_zmtp_driver::SocketBuilder::name), [`context`](bowline_zmtp_driver::SocketBuilder::context),
        /// [`linger`](bowline_zmtp_driver::SocketBuilder::linger),
        /// [`reconnect`](bowline_zmtp_driver::SocketBuilder::reconnect),
        /// [`connect_timeout`](bowline_zmtp_driver::SocketBuilder::connect_timeout),
        /// [`sockets`](bowline_zmtp_driver::SocketBuilder::sockets),
        /// [`proxy`](bowline_zmtp_driver::SocketBuilder::proxy), [`tls`](bowline_zmtp_driver::SocketBuilder::tls),
        /// [`accept_limits`](bowline_zmtp_driver::SocketBuilder::accept_limits),
        /// [`authenticate`](bowline_zmtp_driver::SocketBuilder::authenticate),
        /// [`authenticate_async`](bowline_zmtp_driver::SocketBuilder::authenticate_async),
        /// [`open`](bowline_zmtp_driver::SocketBuilder::open).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use std::time::Duration;\n",
            "\n",
            "use bowline::", $module, "::zmtp::{Pull, Push};\n",
            "\n",
            "let pull = Pull::builder().name(\"jobs\").open()?;\n",
            "let endpoint = pull.bind(\"tcp://127.0.0.1:*\")?;\n",
            "let push = Push::builder().linger(Duration::from_secs(1)).open()?;\n",
            "push.connect(&endpoint)?;\n",
            "push.send(\"job 1\")", $wait, "?;\n",
            "assert_eq!(&pull.recv()", $wait, "?[0][..], b\"job 1\");\n")])?
        pub type SocketBuilder<K> = $crate::SocketBuilder<$runtime, K>;

        #[doc = concat!("The sending half of a socket on ", $on, ": [`SendHalf`](bowline_zmtp_driver::SendHalf).")]
        ///
        /// Methods: [`send`](bowline_zmtp_driver::SendHalf::send),
        /// [`send_timeout`](bowline_zmtp_driver::SendHalf::send_timeout),
        /// [`try_send`](bowline_zmtp_driver::SendHalf::try_send),
        /// [`poll_send`](bowline_zmtp_driver::SendHalf::poll_send).
        pub type SendHalf<K> = $crate::SendHalf<$runtime, K>;

        #[doc = concat!("The receiving half of a socket on ", $on, ": [`RecvHalf`](bowline_zmtp_driver::RecvHalf).")]
        ///
        /// Methods: [`recv`](bowline_zmtp_driver::RecvHalf::recv),
        /// [`recv_timeout`](bowline_zmtp_driver::RecvHalf::recv_timeout),
        /// [`try_recv`](bowline_zmtp_driver::RecvHalf::try_recv),
        /// [`poll_recv`](bowline_zmtp_driver::RecvHalf::poll_recv). A stream where tasks wait, an iterator on threads.
        pub type RecvHalf<K> = $crate::RecvHalf<$runtime, K>;

        #[doc = concat!("The end of a channel that messages are put into, on ", $on, ": [`Sender`](bowline_zmtp_driver::Sender).")]
        ///
        /// Methods: [`send`](bowline_zmtp_driver::Sender::send),
        /// [`send_timeout`](bowline_zmtp_driver::Sender::send_timeout),
        /// [`try_send`](bowline_zmtp_driver::Sender::try_send), [`pass_on`](bowline_zmtp_driver::Sender::pass_on),
        /// [`on`](bowline_zmtp_driver::Sender::on), [`close`](bowline_zmtp_driver::Sender::close),
        /// [`is_closed`](bowline_zmtp_driver::Sender::is_closed), [`stats`](bowline_zmtp_driver::Sender::stats).
        pub type Sender = $crate::Sender<$runtime>;

        #[doc = concat!("The end of a channel that messages are taken out of, on ", $on, ": [`Receiver`](bowline_zmtp_driver::Receiver).")]
        ///
        /// Methods: [`recv`](bowline_zmtp_driver::Receiver::recv),
        /// [`recv_timeout`](bowline_zmtp_driver::Receiver::recv_timeout),
        /// [`try_recv`](bowline_zmtp_driver::Receiver::try_recv),
        /// [`poll_recv`](bowline_zmtp_driver::Receiver::poll_recv), [`on`](bowline_zmtp_driver::Receiver::on),
        /// [`close`](bowline_zmtp_driver::Receiver::close), [`stats`](bowline_zmtp_driver::Receiver::stats).
        pub type Receiver = $crate::Receiver<$runtime>;

        #[doc = concat!("A socket behind channels on ", $on, ": [`Registration`](bowline_zmtp_driver::Registration).")]
        ///
        /// Methods: [`stats`](bowline_zmtp_driver::Registration::stats), [`take_refused`](bowline_zmtp_driver::Registration::take_refused),
        /// [`closed`](bowline_zmtp_driver::Registration::closed). Made by [`Socket::register`](bowline_zmtp_driver::Socket::register) and
        /// [`Socket::register_new`](bowline_zmtp_driver::Socket::register_new).
        pub type Registration = $crate::Registration<$runtime>;

        #[doc = concat!("A proxy between two sockets that runs on ", $on, ": [`Proxy`](bowline_zmtp_driver::Proxy).")]
        ///
        /// Methods: [`builder`](bowline_zmtp_driver::Proxy::builder), [`pause`](bowline_zmtp_driver::Proxy::pause),
        /// [`resume`](bowline_zmtp_driver::Proxy::resume), [`stop`](bowline_zmtp_driver::Proxy::stop),
        /// [`stats`](bowline_zmtp_driver::Proxy::stats), [`ended`](bowline_zmtp_driver::Proxy::ended).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::", $module, "::zmtp::{Dealer, Proxy, Rep, Req, Router};\n",
            "\n",
            "let (front, back) = (Router::new(), Dealer::new());\n",
            "let (clients, workers) = (front.bind(\"tcp://127.0.0.1:*\")?, back.bind(\"tcp://127.0.0.1:*\")?);\n",
            "let proxy = Proxy::builder(&front, &back).start()?;\n",
            "\n",
            "let (req, rep) = (Req::new(), Rep::new());\n",
            "req.connect(&clients)?;\n",
            "rep.connect(&workers)?;\n",
            "req.send(\"ping\")", $wait, "?;\n",
            "rep.recv()", $wait, "?;\n",
            "rep.send(\"pong\")", $wait, "?;\n",
            "assert_eq!(&req.recv()", $wait, "?[0][..], b\"pong\");\n",
            "proxy.stop();\n")])?
        pub type Proxy = $crate::Proxy<$runtime>;

        #[doc = concat!("Makes a proxy on ", $on, ": [`ProxyBuilder`](bowline_zmtp_driver::ProxyBuilder).")]
        ///
        /// Methods: [`capture`](bowline_zmtp_driver::ProxyBuilder::capture),
        /// [`paused`](bowline_zmtp_driver::ProxyBuilder::paused), [`start`](bowline_zmtp_driver::ProxyBuilder::start).
        /// [`Proxy`] has an example.
        pub type ProxyBuilder = $crate::ProxyBuilder<$runtime>;

        #[doc = concat!("A channel of messages on ", $on, ": see [`channel`](bowline_zmtp_driver::channel()).")]
        #[must_use]
        pub fn channel(buffer: $crate::Buffer) -> (Sender, Receiver) {
            $crate::channel(buffer)
        }

        #[doc = concat!("Waits until any of several sockets can receive or send, on ", $on,
            ": see [`poll_any`](bowline_zmtp_driver::poll_any()).")]
        ///
        /// # Errors
        /// As [`poll_any`](bowline_zmtp_driver::poll_any()).
        pub fn poll_any<'a, 'b>(
            items: &'a mut [$crate::PollItem<'b>],
            timeout: Option<std::time::Duration>,
        ) -> $crate::bowline_driver::Wait<$runtime, $crate::PollAny<'a, 'b, $runtime>> {
            $crate::poll_any::<$runtime>(items, timeout)
        }
    };
    (@types $runtime:ty, $on:literal, $($name:ident)*) => {
        $(
            #[doc = concat!("A socket of this type on ", $on, ": see [`kinds::", stringify!($name), "`](bowline_zmtp_driver::kinds::",
                stringify!($name), "), and [`Socket`](type@Socket) for its methods.")]
            pub type $name = $crate::Socket<$runtime, $crate::kinds::$name>;
        )*
    };
}
