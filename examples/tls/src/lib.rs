//! The examples of TLS, `tls.rs` and `mutual_tls.rs`. They are a crate of their own because they need rcgen, which makes
//! certificates, and the other examples do not.
