//! The modules of the four runtimes have the same names, and their handles the same methods.
//!
//! The handles are one generic source, so that only the names in a module and the methods of some runtimes
//! can differ. They are read from the sources, because stable Rust cannot list the items of a module; the
//! compiler checks that the names refer to the expected items.

use std::collections::BTreeSet;
use std::path::Path;

use bowline::batcher::EachCall;
use bowline::frame::raw::Raw;

/// A program that compiles with each of the modules: the names, with and without a framing.
macro_rules! names_of {
    ($module:ident, $runtime:ident) => {
        mod $module {
            #[allow(unused_imports, reason = "what it takes differs: a stream of its runtime")]
            use bowline::$module::stream;
            use bowline::$module::*;

            use super::{EachCall, Raw};

            #[allow(clippy::type_complexity, reason = "a list")]
            #[allow(dead_code, reason = "that it compiles is the test")]
            type All<'a> = (
                (Client, ClientBuilder, Server, ServerBuilder, Manager, Pool, PoolBuilder, Exclusive),
                (Peer, Hub, Messages, Context<'a>, Pending, Request, Responder, CallId),
                (Client<Raw>, ClientBuilder<Raw>, Server<Raw>, ServerBuilder<Raw>, Manager<Raw>, Pool<Raw>),
                (PoolBuilder<Raw>, Exclusive<Raw>, Peer<Raw>, Hub<Raw>, Messages<Raw>, Context<'a, Raw>),
                (Pending<Raw>, Request<Raw>, Responder<Raw>, Listener, Socket, Timer, $runtime),
                (Batcher<EachCall<Client>>, BatcherBuilder<EachCall<Pool>>, SendResults<EachCall<Peer>, u8>),
            );

            /// They are those of this runtime, and not of another.
            #[allow(dead_code, reason = "that it compiles is the test")]
            fn belongs_to_its_runtime(client: Client, server: &Server, handler: impl Handler) {
                fn runs_on<R: bowline::driver::runtime::Runtime>(_: &bowline::links::Peer<R>) {}
                runs_on::<$runtime>(&client);
                runs_on::<$runtime>(&server.peers()[0]);
                let _ = handler;
            }
        }
    };
}

names_of!(tokio, Tokio);
names_of!(smol, Smol);
names_of!(async_std, AsyncStd);
names_of!(blocking, Threads);

fn source(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The public names of a module, those of [`names!`](bowline::links::names) as that.
fn names(path: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in source(path).lines() {
        let Some(item) = line.strip_prefix("pub ") else {
            if line.starts_with("bowline_links::names!(") {
                names.insert("names!".to_owned());
            }
            continue;
        };
        let item = item.trim_end_matches(';');
        if let Some(used) = item.strip_prefix("use ") {
            let (_, last) = used.rsplit_once("::").expect("a path");
            let list = used.split_once('{').map_or(last, |(_, list)| list.trim_end_matches('}'));
            names.extend(list.split(',').map(|name| name.trim().to_owned()));
        } else {
            let (_, name) = item.split_once(' ').expect("an item with a name");
            let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(name.len());
            names.insert(name[..end].to_owned());
        }
    }
    names
}

/// Names of public methods, and whether they are in a block for some runtimes only.
fn methods(path: &str) -> BTreeSet<(String, bool)> {
    let (mut methods, mut is_for_some) = (BTreeSet::new(), false);
    for line in source(path).lines() {
        if line.starts_with("impl") {
            is_for_some = line.contains("Style:");
        }
        let Some(item) = line.strip_prefix("    pub ") else { continue };
        let item = item.trim_start_matches("const ").trim_start_matches("async ");
        if let Some(method) = item.strip_prefix("fn ") {
            let end = method.find(['(', '<']).expect("a method");
            methods.insert((method[..end].to_owned(), is_for_some));
        }
    }
    methods
}

#[test]
fn the_modules_have_the_same_names() {
    let without = |module: &str, own: &[&str]| {
        let path = format!("src/{module}.rs");
        let mut names = names(&path);
        for name in own {
            assert!(names.remove(*name), "{path} has {name}");
        }
        names
    };
    let tokio = without("tokio", &["Tokio"]);
    assert!(tokio.contains("names!") && tokio.contains("stream"), "{tokio:?}");
    assert_eq!(without("smol", &["Smol"]), tokio);
    assert_eq!(without("async_std", &["AsyncStd"]), tokio);
    // Names that only threads have: I/O groups, kinds of waiting, and their style.
    let own = ["Threads", "IoGroup", "Entered", "block_on", "Parks"];
    assert_eq!(without("blocking", &own), tokio);
}

/// A runtime crate supplies sockets, timers and tasks, and knows no protocol.
#[test]
fn no_runtime_crate_names_a_protocol() {
    for crate_name in ["runtime-tokio", "runtime-async-std", "runtime-blocking"] {
        let manifest = source(&format!("{crate_name}/Cargo.toml"));
        assert!(!manifest.contains("bowline-links"), "{crate_name} depends on the links");
        let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(crate_name).join("src")];
        let mut seen = 0;
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(
                    std::fs::read_dir(&path).expect("sources").map(|entry| entry.expect("a file").path()),
                );
                continue;
            }
            seen += 1;
            let text = std::fs::read_to_string(&path).expect("text");
            for name in ["bowline_core::link", "bowline_core::frame", "Framing", "bowline_links", "zmtp"] {
                assert!(!text.contains(name), "{} names {name}", path.display());
            }
        }
        assert!(seen >= 3, "{crate_name} has sources");
    }
}

#[test]
fn no_method_is_for_some_runtimes_but_what_is_about_threads() {
    let of = [
        "client",
        "server",
        "peer",
        "hub",
        "pool",
        "manager",
        "handler_args",
        "exclusive/turns",
        "batcher/mod",
        "batcher/results",
        "batcher/sending",
    ];
    for file in of {
        let methods = methods(&format!("links/src/{file}.rs"));
        let some: Vec<_> =
            methods.iter().filter(|(_, is_for_some)| *is_for_some).map(|(name, _)| name).collect();
        let expected: &[&str] =
            if matches!(file, "client" | "server") { &["handler_threads", "io_group"] } else { &[] };
        assert_eq!(some, expected, "{file}");
    }
}
