//! The methods that the builders of clients and servers share: the application's handlers.

/// The methods of a builder with `parts` that set its handlers. `$without` is the text about messages without
/// a handler, `$requests` names the side that sends the requests.
macro_rules! handler_methods {
    ($builder:ident, without = $without:literal, requests = $requests:literal) => {
        impl<R: Runtime, F: Framing> $builder<R, F> {
            /// Called whenever a connection is ready. Keep the peer to push to it later.
            ///
            /// On threads, and wherever [`on_message`](Self::on_message) is set, it is called like that
            /// handler: in order with messages and `on_disconnect`, and not where the connection is read.
            /// Requests and messages of the peer are handed over after it has returned.
            pub fn on_connect(mut self, f: impl Fn(&Peer<R, F>) + Send + Sync + 'static) -> Self {
                self.parts.handlers.on_connect(f);
                self
            }

            /// Called for every message: in order, one at a time, and not where the connection is read. It
            /// may wait, and may call the peer.
            #[doc = concat!("Without it, messages ", $without, ".")]
            /// An error that it returns, or a panic, is counted and reported as an event; the link continues.
            ///
            /// An async function on tokio, smol and async-std; on threads a function that runs on a pool of
            /// [`handler_threads`](Self::handler_threads) and uses a thread only while there is a message.
            /// Messages wait in the link's receive queue, whose flow control slows the sender down. Messages
            /// that wait when the connection or the link ends are still handed over before `on_disconnect` is
            /// called; closing waits for them, for at most the linger time.
            pub fn on_message<H, T>(mut self, handler: H) -> Self
            where
                H: Fn(Peer<R, F>, Message) -> T + Send + Sync + 'static,
                T: 'static,
                R::Style: Returns<T, Output: Handled>,
            {
                self.parts.handlers.on_message::<R, T>(handler);
                self
            }

            /// Called inline for every message: the fastest kind of handler. It must not wait. An error that
            /// it returns is counted and reported as an event; the link continues.
            pub fn on_message_inline<H: Handled>(
                mut self,
                f: impl Fn(&InlineContext<'_, R, F>, MessageRef<'_>) -> H + Send + Sync + 'static,
            ) -> Self {
                self.parts.handlers.on_message_inline(f);
                self
            }

            /// Called whenever a connection that was ready has ended, in the same place as
            /// [`on_connect`](Self::on_connect).
            pub fn on_disconnect(
                mut self,
                f: impl Fn(&Peer<R, F>, &Disconnect) + Send + Sync + 'static,
            ) -> Self {
                self.parts.handlers.on_disconnect(f);
                self
            }

            #[doc = concat!("Answers ", $requests, "; may take its time, and may call back.")]
            ///
            /// An async function on tokio, smol and async-std; on threads a function, which runs on a pool of
            /// [`handler_threads`](Self::handler_threads).
            pub fn on_request<H, T, A>(mut self, handler: H) -> Self
            where
                H: Fn(Request<R, F>) -> T + Send + Sync + 'static,
                T: 'static,
                R::Style: Returns<T, Output = Result<A, Failure>>,
                A: Into<Answer> + 'static,
            {
                self.parts.handlers.on_request::<R, T, A>(handler);
                self
            }

            #[doc = concat!("Takes ", $requests, " over inline, and answers then or later, from anywhere.")]
            ///
            /// Called where the connection is read: it must not wait. No task or thread is used while an
            /// answer is due; a request counts as being handled until then. See [`Responder::watch`] for how
            /// to learn that a caller gave up.
            pub fn on_request_later(
                mut self,
                f: impl Fn(Request<R, F>, Responder<F>) + Send + Sync + 'static,
            ) -> Self {
                self.parts.handlers.on_request_later(f);
                self
            }

            #[doc = concat!("Answers ", $requests, " inline: the fastest, and must not wait.")]
            pub fn on_request_inline(
                mut self,
                f: impl Fn(&InlineContext<'_, R, F>, RequestRef<'_>, &mut ReplyBuf<'_>) -> Result<(), Failure>
                + Send
                + Sync
                + 'static,
            ) -> Self {
                self.parts.handlers.on_request_inline(f);
                self
            }
        }
    };
}

pub(crate) use handler_methods;
