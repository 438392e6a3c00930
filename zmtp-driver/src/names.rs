//! The names of a runtime's module: one list for all runtimes.

/// Names the sockets of one runtime, in the module where it stands. `$on` is what its documentation calls the
/// runtime.
#[doc(hidden)]
#[macro_export]
macro_rules! names {
    ($runtime:ty, $on:literal) => {
        $crate::names! { @types $runtime, $on, Req Rep Dealer Router Pub Sub XPub XSub Push Pull Pair Client Server
            Radio Dish Scatter Gather Channel Peer }

        #[doc = concat!("A socket of any type on ", $on, ".")]
        pub type Socket<K> = $crate::Socket<$runtime, K>;
        #[doc = concat!("Sockets on ", $on, " that run together, and end together.")]
        pub type Context = $crate::Context<$runtime>;
        #[doc = concat!("Settings of a context on ", $on, ".")]
        pub type ContextBuilder = $crate::ContextBuilder<$runtime>;
        #[doc = concat!("Settings of a socket on ", $on, ".")]
        pub type SocketBuilder<K> = $crate::SocketBuilder<$runtime, K>;
        #[doc = concat!("The sending half of a socket on ", $on, ".")]
        pub type SendHalf<K> = $crate::SendHalf<$runtime, K>;
        #[doc = concat!("The receiving half of a socket on ", $on, ".")]
        pub type RecvHalf<K> = $crate::RecvHalf<$runtime, K>;
        #[doc = concat!("The end of a channel that messages are put into on ", $on, ".")]
        pub type Sender = $crate::Sender<$runtime>;
        #[doc = concat!("The end of a channel that messages are taken out of on ", $on, ".")]
        pub type Receiver = $crate::Receiver<$runtime>;
        #[doc = concat!("A socket behind channels on ", $on, ".")]
        pub type Registration = $crate::Registration<$runtime>;
        #[doc = concat!("A proxy between two sockets that runs on ", $on, ".")]
        pub type Proxy = $crate::Proxy<$runtime>;
        #[doc = concat!("Makes a proxy on ", $on, ".")]
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
        /// As there.
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
                stringify!($name), ") and [`Socket`](bowline_zmtp_driver::Socket).")]
            pub type $name = $crate::Socket<$runtime, $crate::kinds::$name>;
        )*
    };
}
