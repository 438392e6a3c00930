//! The names in a runtime's module: one list for all runtimes.

/// Names the handles of one runtime, in the module where it stands. `$on` is what its documentation calls the runtime; the
/// rest is what the examples in that documentation consist of (see `bowline_links::names!`).
#[doc(hidden)]
#[macro_export]
macro_rules! names {
    (
        $runtime:ty, $on:literal
        $(, examples: $module:literal, $begin:literal, $end:literal, $wait:literal)?
    ) => {
        #[doc = concat!("A client of a cluster on ", $on, ": [`Client`](bowline_forestbus_driver::Client).")]
        ///
        /// Methods: [`connect_to`](bowline_forestbus_driver::Client::connect_to),
        /// [`builder`](bowline_forestbus_driver::Client::builder),
        /// [`send_messages`](bowline_forestbus_driver::Client::send_messages),
        /// [`send_messages_with`](bowline_forestbus_driver::Client::send_messages_with),
        /// [`get_messages`](bowline_forestbus_driver::Client::get_messages),
        /// [`get_messages_with`](bowline_forestbus_driver::Client::get_messages_with),
        /// [`follow`](bowline_forestbus_driver::Client::follow), [`topic`](bowline_forestbus_driver::Client::topic),
        /// [`topic_details`](bowline_forestbus_driver::Client::topic_details),
        /// [`topic_details_with`](bowline_forestbus_driver::Client::topic_details_with),
        /// [`topic_max_available_index`](bowline_forestbus_driver::Client::topic_max_available_index),
        /// [`topic_max_available_index_with`](bowline_forestbus_driver::Client::topic_max_available_index_with),
        /// [`cluster_details`](bowline_forestbus_driver::Client::cluster_details),
        /// [`cluster_details_with`](bowline_forestbus_driver::Client::cluster_details_with),
        /// [`leader`](bowline_forestbus_driver::Client::leader), [`address`](bowline_forestbus_driver::Client::address),
        /// [`counters`](bowline_forestbus_driver::Client::counters),
        /// [`snapshot`](bowline_forestbus_driver::Client::snapshot), [`close`](bowline_forestbus_driver::Client::close).
        pub type Client = $crate::Client<$runtime>;

        #[doc = concat!("Builds a [`Client`](bowline_forestbus_driver::Client) on ", $on, ": [`ClientBuilder`](bowline_forestbus_driver::ClientBuilder).")]
        ///
        /// Methods: [`name`](bowline_forestbus_driver::ClientBuilder::name),
        /// [`key_order`](bowline_forestbus_driver::ClientBuilder::key_order),
        /// [`max_items`](bowline_forestbus_driver::ClientBuilder::max_items),
        /// [`max_message`](bowline_forestbus_driver::ClientBuilder::max_message),
        /// [`tls`](bowline_forestbus_driver::ClientBuilder::tls),
        /// [`sockets`](bowline_forestbus_driver::ClientBuilder::sockets),
        /// [`proxy`](bowline_forestbus_driver::ClientBuilder::proxy),
        /// [`seed`](bowline_forestbus_driver::ClientBuilder::seed),
        /// [`open`](bowline_forestbus_driver::ClientBuilder::open). On threads also
        /// [`io_group`](bowline_forestbus_driver::ClientBuilder::io_group).
        pub type ClientBuilder = $crate::ClientBuilder<$runtime>;

        #[doc = concat!("Reads a topic as it grows, on ", $on, ": [`Follower`](bowline_forestbus_driver::Follower).")]
        ///
        /// Methods: [`next`](bowline_forestbus_driver::Follower::next),
        /// [`rewind`](bowline_forestbus_driver::Follower::rewind).
        pub type Follower = $crate::Follower<$runtime>;

        #[doc = concat!("A topic as a [log](bowline_forestbus_driver::bowline_log::Log), on ", $on, ": [`Topic`](bowline_forestbus_driver::Topic).")]
        ///
        /// Methods: [`name`](bowline_forestbus_driver::Topic::name), [`client`](bowline_forestbus_driver::Topic::client),
        /// [`options`](bowline_forestbus_driver::Topic::options).
        pub type Topic = $crate::Topic<$runtime>;

        $crate::node_names! { $runtime, $on $(, examples: $module, $begin, $end, $wait)? }
    };
}

/// The names of the node.
#[cfg(feature = "node")]
#[doc(hidden)]
#[macro_export]
macro_rules! node_names {
    (
        $runtime:ty, $on:literal
        $(, examples: $module:literal, $begin:literal, $end:literal, $wait:literal)?
    ) => {
        #[doc = concat!("A node in memory on ", $on, ": [`Node`](bowline_forestbus_driver::Node).")]
        ///
        /// Methods: [`builder`](bowline_forestbus_driver::Node::builder),
        /// [`local_addr`](bowline_forestbus_driver::Node::local_addr),
        /// [`add_topic`](bowline_forestbus_driver::Node::add_topic),
        /// [`remove_topic`](bowline_forestbus_driver::Node::remove_topic),
        /// [`bounds`](bowline_forestbus_driver::Node::bounds), [`snapshot`](bowline_forestbus_driver::Node::snapshot),
        /// [`connections`](bowline_forestbus_driver::Node::connections),
        /// [`follow`](bowline_forestbus_driver::Node::follow), [`lead`](bowline_forestbus_driver::Node::lead),
        /// [`set_lagging`](bowline_forestbus_driver::Node::set_lagging),
        /// [`set_delay`](bowline_forestbus_driver::Node::set_delay),
        /// [`forget_commit`](bowline_forestbus_driver::Node::forget_commit),
        /// [`shut_down`](bowline_forestbus_driver::Node::shut_down), [`stop`](bowline_forestbus_driver::Node::stop).
        $(#[doc = $crate::bowline_driver::example!($begin, $end,
            "use bowline::forestbus::{Followed, NodeSettings};\n",
            "use bowline::", $module, "::forestbus::{Client, Node};\n",
            "\n",
            "let node = Node::builder(NodeSettings::new(\"n1\").cluster_id(\"shop\").topic(\"orders\")).bind(\"127.0.0.1:0\")", $wait, "?;\n",
            "let client = Client::connect_to(&format!(\"shop@{}\", node.local_addr()))?;\n",
            "assert_eq!(client.send_messages(\"orders\", [\"one\", \"two\"])", $wait, "?.ids, [1, 2]);\n",
            "\n",
            "let mut follower = client.follow(\"orders\", 1)?;\n",
            "let Some(Ok(Followed::Page(page))) = follower.next()", $wait, " else { panic!() };\n",
            "assert_eq!(&page.messages[0][..], b\"one\");\n")])?
        pub type Node = $crate::Node<$runtime>;

        #[doc = concat!("Builds a [`Node`](bowline_forestbus_driver::Node) on ", $on, ": [`NodeBuilder`](bowline_forestbus_driver::NodeBuilder).")]
        ///
        /// Methods: [`codec`](bowline_forestbus_driver::NodeBuilder::codec),
        /// [`max_message`](bowline_forestbus_driver::NodeBuilder::max_message),
        /// [`tls`](bowline_forestbus_driver::NodeBuilder::tls),
        /// [`sockets`](bowline_forestbus_driver::NodeBuilder::sockets),
        /// [`bind`](bowline_forestbus_driver::NodeBuilder::bind). On threads also
        /// [`io_group`](bowline_forestbus_driver::NodeBuilder::io_group).
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
