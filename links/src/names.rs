//! The names of a runtime's module: one list for all runtimes.

/// Names the handles for one runtime, in the module where it stands. `$on` is what its documentation
/// calls the runtime. An alias cannot be generic over the module it is in, so this is a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! names {
    ($runtime:ty, $on:literal) => {
        pub use $crate::bowline_core::link::CallId;
        pub use $crate::Handler;

        $crate::names! { @handles $runtime, $crate::bowline_core::frame::native::Native,
            #[doc = concat!("A link's dialing end on ", $on, ". See [`Client`](bowline_links::Client).")]
            Client
            #[doc = concat!("Builds a [`Client`](bowline_links::Client) on ", $on, ".")]
            ClientBuilder
            #[doc = concat!("The accepting end on ", $on, ". See [`Server`](bowline_links::Server).")]
            Server
            #[doc = concat!("Builds a [`Server`](bowline_links::Server) on ", $on, ".")]
            ServerBuilder
            #[doc = concat!("Many listeners and links by address, on ", $on, ". See \
                [`Manager`](bowline_links::Manager).")]
            Manager
            #[doc = concat!("Several links to one target, on ", $on, ". See [`Pool`](bowline_links::Pool).")]
            Pool
            #[doc = concat!("Builds a [`Pool`](bowline_links::Pool) on ", $on, ".")]
            PoolBuilder
            #[doc = concat!("A connection with one owner on ", $on, ". See \
                [`Exclusive`](bowline_links::Exclusive).")]
            Exclusive
            #[doc = "The other side of a link, as handlers see it."]
            Peer
            #[doc = "The peers of servers, by id and in groups."]
            Hub
            #[doc = "Received messages, one after another."]
            Messages
            #[doc = "A call under way."]
            Pending
            #[doc = "A request that may take its time."]
            Request
        }

        #[doc = concat!("Messages into batches on ", $on, ". See [`Batcher`](bowline_links::batcher::Batcher).")]
        pub type Batcher<S, T = ()> = $crate::batcher::Batcher<$runtime, S, T>;
        #[doc = concat!("Builds a [`Batcher`](bowline_links::batcher::Batcher) on ", $on, ".")]
        pub type BatcherBuilder<S, T = ()> = $crate::batcher::BatcherBuilder<$runtime, S, T>;
        /// The results of messages that were sent with a reference.
        pub type SendResults<S, T = ()> = $crate::batcher::SendResults<$runtime, S, T>;

        /// What an inline handler may do besides answering.
        pub type Context<'a, F = $crate::bowline_core::frame::native::Native> =
            $crate::Context<'a, $runtime, F>;
        /// The right to answer a request later.
        pub type Responder<F = $crate::bowline_core::frame::native::Native> = $crate::Responder<F>;
    };
    (@handles $runtime:ty, $native:ty, $(#[$doc:meta] $name:ident)*) => {
        $(
            #[$doc]
            pub type $name<F = $native> = $crate::$name<$runtime, F>;
        )*
    };
}
