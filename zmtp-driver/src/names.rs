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
        #[doc = concat!("Settings of a socket on ", $on, ".")]
        pub type SocketBuilder<K> = $crate::SocketBuilder<$runtime, K>;
    };
    (@types $runtime:ty, $on:literal, $($name:ident)*) => {
        $(
            #[doc = concat!("A socket of this type on ", $on, ": see [`kinds::", stringify!($name), "`](bowline_zmtp_driver::kinds::",
                stringify!($name), ") and [`Socket`](bowline_zmtp_driver::Socket).")]
            pub type $name = $crate::Socket<$runtime, $crate::kinds::$name>;
        )*
    };
}
