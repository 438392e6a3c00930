//! Names of client certificates: TLS has verified the certificate, and its name says who the client is.

use std::collections::HashMap;
use std::fmt;

use bowline_core::auth::{Decision, Grant, Identity, RefusalCode};
use bowline_driver::sync::Arc;

use super::Attempt;

/// The names of client certificates that an accepting side lets in, and what each of them grants.
///
/// A client shows its certificate in the handshake of TLS, where the server verifies it: that it was issued by one of the
/// roots for clients, that it has not expired, that no list revokes it, and that the client has its private key. What is
/// compared here are the DNS names among the subject alternative names of the client's own certificate, without regard to
/// case; the first one that is known counts. Wildcards, addresses, and the common name of the subject are no names. The
/// client needs no other credentials.
///
/// A server whose TLS settings ask clients for no certificate lets nobody in.
///
/// Cheap to clone. To change the names, make another one and keep it where the verifier looks.
///
/// ```
/// use bowline_core::auth::{Identity, RefusalCode};
/// use bowline_links::auth::{Attempt, CertificateNames};
///
/// let names = CertificateNames::new().with("reporting.example.org", Identity::new("reporting").with("role", "reader"));
/// // A server's builder takes it as `.verifier_inline(move |attempt| names.verify(attempt))`.
/// # let attempt = Attempt::new(bowline_core::auth::Shown::new(bowline_core::auth::Credentials::none(),
/// #     bowline_core::auth::Challenge::new([0; 32], 0)), Default::default());
/// assert_eq!(names.verify(&attempt).map_err(|refusal| refusal.code), Err(RefusalCode::MISSING));
/// ```
#[derive(Clone, Default)]
pub struct CertificateNames {
    known: Arc<HashMap<String, Grant>>,
    lets_others_in: bool,
}

impl fmt::Debug for CertificateNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateNames")
            .field("len", &self.known.len())
            .field("lets_others_in", &self.lets_others_in)
            .finish()
    }
}

impl CertificateNames {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every client whose certificate has a name: the first one of the certificate, in lower case, is the name of its
    /// identity. For an issuer that issues certificates to nobody else.
    #[must_use]
    pub fn any() -> Self {
        Self { lets_others_in: true, ..Self::default() }
    }

    /// One more, and who has it.
    #[must_use]
    pub fn with(mut self, name: impl AsRef<str>, grant: impl Into<Grant>) -> Self {
        Arc::make_mut(&mut self.known).insert(name.as_ref().to_ascii_lowercase(), grant.into());
        self
    }

    /// Whether the peer's certificate has one of them.
    ///
    /// # Errors
    /// [`MISSING`](RefusalCode::MISSING) if it showed no certificate, [`FORBIDDEN`](RefusalCode::FORBIDDEN) if that has
    /// none of the names.
    pub fn verify(&self, attempt: &Attempt) -> Decision {
        let connection = attempt.connection();
        if connection.peer_certificates().is_empty() {
            return Err(RefusalCode::MISSING.into());
        }
        let names = connection.certificate_names().iter().filter(|name| !name.contains('*'));
        let mut first = None;
        for name in names {
            let name = name.to_ascii_lowercase();
            if let Some(grant) = self.known.get(&name) {
                return Ok(grant.clone());
            }
            first.get_or_insert(name);
        }
        match first.filter(|_| self.lets_others_in) {
            Some(name) => Ok(Identity::new(name).into()),
            None => Err(RefusalCode::FORBIDDEN.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_core::auth::{Challenge, Credentials, Shown};
    use bowline_core::layer::Secured;
    use bowline_driver::connection_info::ConnectionInfo;

    use super::*;

    fn shows(certificates: usize, names: &[&str]) -> Attempt {
        let mut secured = Secured::default();
        secured.certificates = vec![vec![0x30]; certificates];
        secured.names = names.iter().map(|name| (*name).to_owned()).collect();
        let mut connection = ConnectionInfo::default();
        connection.secured = Some(Arc::new(secured));
        Attempt::new(Shown::new(Credentials::none(), Challenge::new([0; 32], 0)), connection)
    }

    fn name(names: &CertificateNames, attempt: &Attempt) -> Result<String, RefusalCode> {
        let decision = names.verify(attempt);
        decision.map(|grant| grant.identity.name().to_owned()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn who_has_a_certificate_of_a_known_name_is_let_in() {
        let names =
            CertificateNames::new().with("Bob.test", Identity::new("bob")).with("*.test", Identity::new("x"));
        let bob = Ok("bob".to_owned());
        assert_eq!(name(&names, &shows(1, &["bob.test"])), bob);
        assert_eq!(name(&names, &shows(2, &["other.test", "BOB.test"])), bob);
        assert_eq!(name(&names, &shows(1, &["other.test", "*.test"])), Err(RefusalCode::FORBIDDEN));
        assert_eq!(name(&names, &shows(1, &[])), Err(RefusalCode::FORBIDDEN));
        assert_eq!(name(&names, &shows(0, &[])), Err(RefusalCode::MISSING));
        let plain =
            Attempt::new(Shown::new(Credentials::none(), Challenge::new([0; 32], 0)), Default::default());
        assert_eq!(name(&names, &plain), Err(RefusalCode::MISSING));
    }

    #[test]
    fn any_name_is_an_identity_where_that_is_wanted() {
        let names = CertificateNames::any().with("bob.test", Identity::new("bob"));
        assert_eq!(
            name(&names, &shows(1, &["*.test", "Eve.test", "mallory.test"])),
            Ok("eve.test".to_owned())
        );
        assert_eq!(name(&names, &shows(1, &["eve.test", "bob.test"])), Ok("bob".to_owned()));
        assert_eq!(name(&names, &shows(1, &["*.test"])), Err(RefusalCode::FORBIDDEN));
        assert_eq!(name(&names, &shows(0, &[])), Err(RefusalCode::MISSING));
    }
}
