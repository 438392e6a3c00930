//! What the builders of clients and servers have in common: the application's handlers.

/// The methods of a builder with `parts` that set its handlers. `$without` says what becomes of messages without
/// a handler, `$requests` whose requests they are.
macro_rules! handler_methods {
    ($builder:ident, without = $without:literal, requests = $requests:literal) => {
        impl<R: Runtime, F: Framing> $builder<R, F> {
            /// Called whenever a connection is ready. Keep the peer to push to it later.
            ///
            /// On threads, and wherever there is an [`on_message`](Self::on_message), it is called as that is:
            /// with what that and `on_disconnect` are called for in order, and apart from the reading of the
            /// connection. The peer's requests and messages are handed over when it has returned.
            pub fn on_connect(mut self, f: impl Fn(&Peer<R, F>) + Send + Sync + 'static) -> Self {
                self.parts.handlers.on_connect(f);
                self
            }

            /// Called for every message: in order, one at a time, and apart from the reading of the
            /// connection. It may take its time, and may call back.
            #[doc = concat!("Without it, messages ", $without, ".")]
            /// An error that it returns is counted and an event, and the link goes on; so is a panic.
            ///
            /// An async function on tokio, smol and async-std; on threads a function, which runs on a pool of
            /// [`handler_threads`](Self::handler_threads), and keeps a thread only
            /// while a message is there. What waits is kept in the link's receive queue, whose flow control
            /// holds up the sender. Messages that wait when the connection or the link ends are still handed
            /// over, before `on_disconnect` is called; closing waits for them, for at most the linger time.
            pub fn on_message<H, T>(mut self, handler: H) -> Self
            where
                H: Fn(Peer<R, F>, Message) -> T + Send + Sync + 'static,
                T: 'static,
                R::Style: Returns<T, Output: Handled>,
            {
                self.parts.handlers.on_message::<R, T>(handler);
                self
            }

            /// Called inline for every message: the fastest, and must not wait. An error that it returns is
            /// counted and an event, and the link goes on.
            pub fn on_message_inline<H: Handled>(
                mut self,
                f: impl Fn(&InlineContext<'_, R, F>, MessageRef<'_>) -> H + Send + Sync + 'static,
            ) -> Self {
                self.parts.handlers.on_message_inline(f);
                self
            }

            /// Called whenever a connection that was ready has ended; where
            /// [`on_connect`](Self::on_connect) is called.
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
            /// Called where the connection is read: it must not wait. No task and no thread is kept while an answer is
            /// due; a request counts as being handled until then. See [`Responder::watch`] for callers that go away.
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
