//! The names of a runtime's module: one list for all runtimes.

/// Names the handles of one runtime, in the module where it stands. `$on` is what its documentation calls the runtime.
#[doc(hidden)]
#[macro_export]
macro_rules! names {
    ($runtime:ty, $on:literal) => {
        #[doc = concat!("A client of a cluster on ", $on, ". See [`Client`](bowline_forestbus_driver::Client).")]
        pub type Client = $crate::Client<$runtime>;
        #[doc = concat!("Builds a [`Client`](bowline_forestbus_driver::Client) on ", $on, ".")]
        pub type ClientBuilder = $crate::ClientBuilder<$runtime>;
        #[doc = concat!("Reads a topic as it grows, on ", $on, ". See [`Follower`](bowline_forestbus_driver::Follower).")]
        pub type Follower = $crate::Follower<$runtime>;
        #[doc = concat!("A topic as a log, on ", $on, ". See [`Topic`](bowline_forestbus_driver::Topic).")]
        pub type Topic = $crate::Topic<$runtime>;

        $crate::node_names! { $runtime, $on }
    };
}

/// Those of the node.
#[cfg(feature = "node")]
#[doc(hidden)]
#[macro_export]
macro_rules! node_names {
    ($runtime:ty, $on:literal) => {
        #[doc = concat!("A node in memory on ", $on, ". See [`Node`](bowline_forestbus_driver::Node).")]
        pub type Node = $crate::Node<$runtime>;
        #[doc = concat!("Builds a [`Node`](bowline_forestbus_driver::Node) on ", $on, ".")]
        pub type NodeBuilder = $crate::NodeBuilder<$runtime>;
    };
}

/// There is no node.
#[cfg(not(feature = "node"))]
#[doc(hidden)]
#[macro_export]
macro_rules! node_names {
    ($($any:tt)*) => {};
}
