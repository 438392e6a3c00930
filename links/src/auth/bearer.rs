//! Bearer tokens: whoever has one is let in. For connections that nobody can listen to.

use std::collections::HashMap;
use std::fmt;

use bowline_core::auth::{
    Challenge, CredentialSource, Credentials, CredentialsError, Decision, Grant, RefusalCode,
};
use bowline_driver::sync::Arc;
use sha2::{Digest, Sha256};

use super::Attempt;

/// A dialing side's token, the same on each connection. Where it changes, give
/// [`credentials`](bowline_core::config::ConfigBuilder::credentials) a function that says the present one.
///
/// Whoever can read the connection has the token: use it over TLS, or where nobody can listen.
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
    /// That token.
    ///
    /// # Errors
    /// It is longer than credentials may be.
    pub fn new(token: impl AsRef<[u8]>) -> Result<Self, CredentialsError> {
        Credentials::new(token.as_ref()).map(Self)
    }
}

impl CredentialSource for BearerToken {
    fn credentials(&self, _: &Challenge) -> Result<Credentials, CredentialsError> {
        Ok(self.0.clone())
    }
}

/// The tokens that an accepting side knows, and what each of them grants. It keeps their digests alone, and looks a
/// token up by its digest: how long that takes says nothing of the tokens that there are.
///
/// Cheap to clone. To change the tokens, make another one and keep it where the verifier looks.
#[derive(Clone, Default)]
pub struct Tokens(Arc<HashMap<[u8; 32], Grant>>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

impl Tokens {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more, and who has it. An identity may have several, while an old one is replaced. An empty one is no
    /// token, and is left out.
    #[must_use]
    pub fn with(mut self, token: impl AsRef<[u8]>, grant: impl Into<Grant>) -> Self {
        if !token.as_ref().is_empty() {
            let digest = Sha256::digest(token.as_ref()).into();
            Arc::make_mut(&mut self.0).insert(digest, grant.into());
        }
        self
    }

    /// Whether the peer has one of them.
    ///
    /// # Errors
    /// [`MISSING`](RefusalCode::MISSING) if it showed nothing, [`WRONG`](RefusalCode::WRONG) if it showed something
    /// else.
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
