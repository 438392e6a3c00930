//! TLS as a [`Layer`](bowline_core::layer::Layer) below any machine, over `rustls`.
//!
//! Sans-IO: no socket and no task. [`TlsClient`] and [`TlsServer`] are settings: pass them to `tls` of a
//! link, a server or a socket to secure all its connections. [`TlsLayer`] is the layer of one connection, for
//! drivers of your own.
//!
//! ```
//! use bowline_core::config::Config;
//! use bowline_tls::{Certificates, TlsClient};
//!
//! # fn example(ca: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! // A client that trusts one issuer, and asks for the name that it dials.
//! let tls = TlsClient::builder().roots(Certificates::from_pem(ca)?).build()?;
//! let config = Config::builder().tls(tls).build()?;
//! # drop(config);
//! # Ok(()) }
//! ```
//!
//! The default cryptography provider is *ring*; settings of `rustls` itself ([`rustls::ClientConfig`],
//! [`rustls::ServerConfig`]) can be used as well.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod credentials;
mod error;
#[cfg(test)]
mod error_walk;
mod holds;
mod layer;
mod server;
mod settings;

pub use client::{TlsClient, TlsClientBuilder};
pub use credentials::{Certificates, Identity, RevocationLists};
pub use error::{CertificateFlaw, SettingsError, TlsError, VersionMismatch};
pub use layer::{MAX_HANDSHAKE, TlsLayer};
pub use server::{TlsServer, TlsServerBuilder};

/// The underlying library, for your own settings.
pub use rustls;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The default cryptography provider.
fn default_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
