//! TLS as a [`Layer`](bowline_core::layer::Layer) below any machine, over `rustls`.
//!
//! Sans-IO: no socket and no task. [`TlsClient`] and [`TlsServer`] are settings: give them to a link's, a server's or a
//! socket's `tls`, and every connection of it is secured. [`TlsLayer`] is one connection's layer, for drivers of your own.
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
//! The cryptography is *ring*'s unless a builder is told otherwise; settings of `rustls` itself
//! ([`rustls::ClientConfig`], [`rustls::ServerConfig`]) can be given as they are.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod credentials;
mod error;
mod layer;
mod server;

pub use client::{TlsClient, TlsClientBuilder};
pub use credentials::{Certificates, Identity, RevocationLists};
pub use error::{CertificateFlaw, SettingsError, TlsError, VersionMismatch};
pub use layer::{MAX_HANDSHAKE, TlsLayer};
pub use server::{TlsServer, TlsServerBuilder};

/// What all of it stands on, for settings of your own.
pub use rustls;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The cryptography of settings that say nothing else.
fn default_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
