//! tokio, smol and async-std: spawning tasks, and timers.

use std::future::Future;
use std::time::Duration;

use bowline::frame::Framing;
use bowline::links;
use bowline::{BindError, Config, ConnectError};

use crate::frame::block_on_tokio;
use crate::handles;
use crate::harness::{BoxFuture, Handlers, Harness};

pub struct OnTokio;
pub struct OnSmol;
pub struct OnAsyncStd;

/// The differences between them: spawning tasks and timers.
macro_rules! harness {
    ($harness:ident, $name:literal, $handles:ident, $runtime:ty, $run:expr, $spawn:expr, $sleep:expr, $tasks:expr) => {
        impl Harness for $harness {
            type Client<F: Framing> = links::Client<$runtime, F>;
            type Server<F: Framing> = links::Server<$runtime, F>;
            type Manager<F: Framing> = links::Manager<$runtime, F>;
            type Pool<F: Framing> = links::Pool<$runtime, F>;
            const NAME: &'static str = $name;
            const MANY: usize = 10_000;

            fn run(scenario: impl Future<Output = ()> + Send + 'static) {
                ($run)(scenario)
            }

            fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> BoxFuture<T> {
                ($spawn)(task)
            }

            fn tasks() -> usize {
                $tasks
            }

            fn sleep(duration: Duration) -> BoxFuture<()> {
                Box::pin(($sleep)(duration))
            }

            fn connect<F: Framing>(
                address: &str,
                config: Config<F>,
                handlers: Handlers<F>,
            ) -> BoxFuture<Result<Self::Client<F>, ConnectError>> {
                Box::pin(handles::$handles::builder(address, config, handlers).connect())
            }

            fn connect_lazy<F: Framing>(
                address: &str,
                config: Config<F>,
                handlers: Handlers<F>,
            ) -> Result<Self::Client<F>, ConnectError> {
                handles::$handles::builder(address, config, handlers).connect_lazy()
            }

            fn bind<F: Framing>(
                address: &str,
                config: Config<F>,
                handlers: Handlers<F>,
            ) -> BoxFuture<Result<Self::Server<F>, BindError>> {
                let (address, builder) =
                    (address.to_owned(), handles::$handles::server_builder(config, handlers));
                Box::pin(async move { builder.bind(&address).await })
            }
        }
    };
}

fn tokio_spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> BoxFuture<T> {
    let handle = tokio::spawn(task);
    Box::pin(async move { handle.await.expect("the task panicked") })
}

async fn smol_sleep(duration: Duration) {
    smol::Timer::after(duration).await;
}

harness!(
    OnTokio,
    "tokio",
    tokio,
    bowline::tokio::Tokio,
    block_on_tokio,
    tokio_spawn,
    tokio::time::sleep,
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
);
harness!(
    OnSmol,
    "smol",
    smol,
    bowline::smol::Smol,
    smol::block_on,
    |task| Box::pin(smol::spawn(task)),
    smol_sleep,
    0
);
harness!(
    OnAsyncStd,
    "async-std",
    async_std,
    bowline::async_std::AsyncStd,
    async_std::task::block_on,
    |task| Box::pin(async_std::task::spawn(task)),
    smol_sleep,
    0
);
