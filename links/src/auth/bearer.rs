//! Bearer tokens: possession of the token is the proof. Use them only on connections that cannot be read by
//! others.

use std::collections::HashMap;
use std::fmt;

use bowline_core::auth::{
    Challenge, CredentialSource, Credentials, CredentialsError, Decision, Grant, RefusalCode,
};
use bowline_driver::sync::Arc;
use sha2::{Digest, Sha256};

use super::Attempt;

/// The token of a dialing side, the same on each connection. If the token changes over time, give
/// [`credentials`](bowline_core::config::ConfigBuilder::credentials) a function that returns the current one.
///
/// Anyone who can read the connection's bytes learns the token: use it over TLS, or where no one else can
/// read them.
///
/// ```
/// use bowline_core::config::Config;
/// use bowline_links::auth::BearerToken;
///
/// let config = Config::builder().credentials(BearerToken::new("a token")?).build()?;
/// # let _ = config;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BearerToken(Credentials);

impl BearerToken {
    /// Credentials that consist of `token`.
    ///
    /// # Errors
    /// The token is longer than credentials may be.
    pub fn new(token: impl AsRef<[u8]>) -> Result<Self, CredentialsError> {
        Credentials::new(token.as_ref()).map(Self)
    }
}

impl CredentialSource for BearerToken {
    fn credentials(&self, _: &Challenge) -> Result<Credentials, CredentialsError> {
        Ok(self.0.clone())
    }
}

/// The tokens that an accepting side knows, and the grant of each. Only digests of the tokens are stored, and
/// tokens are looked up by digest, so that the time of a lookup reveals nothing about the known tokens.
///
/// Cheap to clone. To change the tokens, build a new value and replace the one that the verifier reads.
#[derive(Clone, Default)]
pub struct Tokens(Arc<HashMap<[u8; 32], Grant>>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

impl Tokens {
    /// An empty set of tokens.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a token and its grant. An identity may have several tokens, for example while an old one is being
    /// replaced. An empty token is ignored.
    #[must_use]
    pub fn with(mut self, token: impl AsRef<[u8]>, grant: impl Into<Grant>) -> Self {
        if !token.as_ref().is_empty() {
            let digest = Sha256::digest(token.as_ref()).into();
            Arc::make_mut(&mut self.0).insert(digest, grant.into());
        }
        self
    }

    /// Checks whether the peer has shown one of the tokens.
    ///
    /// # Errors
    /// [`MISSING`](RefusalCode::MISSING) if the peer showed no credentials, [`WRONG`](RefusalCode::WRONG) if
    /// it showed others.
    pub fn verify(&self, attempt: &Attempt) -> Decision {
        if attempt.credentials().is_empty() {
            return Err(RefusalCode::MISSING.into());
        }
        let digest: [u8; 32] = Sha256::digest(attempt.credentials()).into();
        self.0.get(&digest).cloned().ok_or_else(|| RefusalCode::WRONG.into())
    }
}

#[cfg(test)]
mod tests {
    use bowline_core::auth::{Identity, Shown};

    use super::*;

    fn shows(token: &[u8]) -> Attempt {
        let credentials = Credentials::new(token).unwrap();
        Attempt::new(Shown::new(credentials, Challenge::new([0; 32], 0)), Default::default())
    }

    #[test]
    fn who_has_a_token_is_let_in() {
        let tokens = Tokens::new()
            .with("old", Identity::new("bob"))
            .with("new", Grant::new(Identity::new("bob")).connections(2))
            .with("", Identity::new("nobody"));
        let code = |token: &[u8]| tokens.verify(&shows(token)).map_err(|refusal| refusal.code);
        assert_eq!(code(b"old"), Ok(Grant::new(Identity::new("bob"))));
        assert_eq!(code(b"new").map(|grant| grant.connections), Ok(Some(2)));
        assert_eq!(code(b""), Err(RefusalCode::MISSING));
        assert_eq!(code(b"older"), Err(RefusalCode::WRONG));
        let shown = format!("{:?}", BearerToken::new("a secret").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(BearerToken::new([0; 4097]).is_err());
    }
}
