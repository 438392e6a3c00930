//! Shared secrets: each side knows the secret, and it is never sent. `docs/protocol.md` describes the bytes.

use std::collections::HashMap;
use std::fmt;

use bowline_core::auth::{
    Challenge, CredentialSource, Credentials, CredentialsError, Decision, Grant, RefusalCode,
};
use bowline_driver::sync::Arc;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Attempt;

/// The first byte of the credentials: their format.
const FORM: u8 = 1;
/// Domain separation: a proof is valid for this purpose only.
const PURPOSE: &[u8] = b"bowline shared secret 1";
const NONCE: usize = 16;
const PROOF: usize = 32;
/// Shorter challenges are rejected, because they could repeat.
const LEAST_CHALLENGE: usize = 16;

/// The name of a dialing side, and the secret that it shares with its servers. On each connection it answers
/// the server's challenge with an HMAC-SHA256: the secret is never sent, and an answer is not valid on
/// another connection.
///
/// A secret should be 32 random bytes. A password could be guessed offline by anyone who has seen an answer.
///
/// ```
/// use bowline_core::config::Config;
/// use bowline_links::auth::SharedSecret;
///
/// let secret = [7; 32]; // From a file, say.
/// let config = Config::builder().credentials(SharedSecret::new("reporting", secret)?).build()?;
/// # let _ = config;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SharedSecret {
    name: String,
    secret: Vec<u8>,
}

impl fmt::Debug for SharedSecret {
    /// Does not print the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecret").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SharedSecret {
    /// Credentials from a name and the secret that belongs to it.
    ///
    /// # Errors
    /// The name is longer than 255 bytes.
    pub fn new(name: impl Into<String>, secret: impl Into<Vec<u8>>) -> Result<Self, CredentialsError> {
        let (name, secret) = (name.into(), secret.into());
        if name.len() > usize::from(u8::MAX) {
            return Err(CredentialsError::TooLong { len: name.len() as u64, max: u8::MAX.into() });
        }
        Ok(Self { name, secret })
    }
}

impl CredentialSource for SharedSecret {
    fn credentials(&self, challenge: &Challenge) -> Result<Credentials, CredentialsError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(CredentialsError::unavailable)?;
        if challenge.bytes().len() < LEAST_CHALLENGE {
            return Err(CredentialsError::unavailable("the peer's challenge is too short to be answered"));
        }
        let name = self.name.as_bytes();
        let proof = hmac(&self.secret, challenge.bytes(), challenge.session(), name, &nonce).finalize();
        let head = [FORM, name.len() as u8];
        Credentials::new([&head[..], name, &nonce, &proof.into_bytes()].concat())
    }
}

/// The secrets that an accepting side shares, by name, and the grant of each.
///
/// Cheap to clone. To change the secrets, build a new value and replace the one that the verifier reads.
///
/// ```
/// use bowline_core::auth::Identity;
/// use bowline_links::auth::SharedSecrets;
///
/// // The old one and the new one, while both are in use.
/// let secrets = SharedSecrets::new()
///     .with("reporting", [7; 32], Identity::new("reporting"))
///     .with("reporting", [8; 32], Identity::new("reporting"));
/// # let _ = secrets;
/// ```
#[derive(Clone, Default)]
pub struct SharedSecrets(Arc<HashMap<Vec<u8>, Vec<Known>>>);

#[derive(Clone)]
struct Known {
    secret: Vec<u8>,
    grant: Grant,
}

impl fmt::Debug for SharedSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecrets").field("names", &self.0.len()).finish_non_exhaustive()
    }
}

impl SharedSecrets {
    /// An empty set of secrets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a secret and its grant. A name may have several secrets.
    #[must_use]
    pub fn with(
        mut self,
        name: impl Into<String>,
        secret: impl Into<Vec<u8>>,
        grant: impl Into<Grant>,
    ) -> Self {
        let known = Known { secret: secret.into(), grant: grant.into() };
        Arc::make_mut(&mut self.0).entry(name.into().into_bytes()).or_default().push(known);
        self
    }

    /// Checks whether the peer's answer to its challenge proves a secret of the name that it gives. Proofs
    /// are compared in constant time; an unknown name takes as long as a name with one secret.
    ///
    /// # Errors
    /// [`MISSING`](RefusalCode::MISSING) if the peer showed no credentials, [`WRONG`](RefusalCode::WRONG) if
    /// its proof is not valid.
    pub fn verify(&self, attempt: &Attempt) -> Decision {
        if attempt.credentials().is_empty() {
            return Err(RefusalCode::MISSING.into());
        }
        let wrong = || RefusalCode::WRONG.into();
        let (name, nonce, proof) = parse(attempt.credentials()).ok_or_else(wrong)?;
        if attempt.challenge().len() < LEAST_CHALLENGE {
            return Err(wrong());
        }
        let proves = |secret: &[u8]| {
            hmac(secret, attempt.challenge(), attempt.session(), name, nonce).verify_slice(proof).is_ok()
        };
        let Some(known) = self.0.get(name) else {
            let _ = proves(&[0; 32]);
            return Err(wrong());
        };
        known.iter().find(|known| proves(&known.secret)).map(|known| known.grant.clone()).ok_or_else(wrong)
    }
}

/// Name, nonce and proof.
fn parse(credentials: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&[form, len], rest) = credentials.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(len.into())?;
    let (nonce, proof) = rest.split_at_checked(NONCE)?;
    (form == FORM && proof.len() == PROOF).then_some((name, nonce, proof))
}

fn hmac(secret: &[u8], challenge: &[u8], session: u64, name: &[u8], nonce: &[u8]) -> Hmac<Sha256> {
    // HMAC accepts a key of any length.
    let mut hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).unwrap_or_else(|_| unreachable!());
    hmac.update(PURPOSE);
    // Both lengths are at most 255.
    hmac.update(&[challenge.len() as u8]);
    hmac.update(challenge);
    hmac.update(&session.to_be_bytes());
    hmac.update(&[name.len() as u8]);
    hmac.update(name);
    hmac.update(nonce);
    hmac
}

#[cfg(test)]
mod tests {
    use bowline_core::auth::{Identity, Shown};

    use super::*;

    const CHALLENGE: [u8; 32] = [3; 32];

    fn secrets() -> SharedSecrets {
        SharedSecrets::new().with("bob", b"first".to_vec(), Identity::new("bob")).with(
            "bob",
            b"second".to_vec(),
            Identity::new("bob").with("key", "2"),
        )
    }

    fn answer(name: &str, secret: &[u8], challenge: &Challenge) -> Credentials {
        SharedSecret::new(name, secret).unwrap().credentials(challenge).unwrap()
    }

    fn verify(credentials: Credentials, challenge: Challenge) -> Result<Grant, RefusalCode> {
        let attempt = Attempt::new(Shown::new(credentials, challenge), Default::default());
        secrets().verify(&attempt).map_err(|refusal| refusal.code)
    }

    #[test]
    fn who_knows_the_secret_is_let_in_on_that_connection_alone() {
        let asked = || Challenge::new(CHALLENGE, 7);
        let shown = answer("bob", b"first", &asked());
        assert_eq!(verify(shown.clone(), asked()), Ok(Grant::new(Identity::new("bob"))));
        let second = verify(answer("bob", b"second", &asked()), asked()).unwrap();
        assert_eq!(second.identity.attribute("key"), Some("2"));
        let wrong = Err(RefusalCode::WRONG);
        // Replayed on another connection, or for another session.
        assert_eq!(verify(shown.clone(), Challenge::new([4; 32], 7)), wrong);
        assert_eq!(verify(shown, Challenge::new(CHALLENGE, 8)), wrong);
        assert_eq!(verify(answer("bob", b"third", &asked()), asked()), wrong);
        assert_eq!(verify(answer("eve", b"first", &asked()), asked()), wrong);
        assert_eq!(verify(Credentials::none(), asked()), Err(RefusalCode::MISSING));
    }

    #[test]
    fn each_bit_of_an_answer_counts() {
        let asked = || Challenge::new(CHALLENGE, 0);
        let shown = answer("bob", b"first", &asked());
        for at in 0..shown.as_bytes().len() * 8 {
            let mut bytes = shown.as_bytes().to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            assert_eq!(
                verify(Credentials::new(bytes).unwrap(), asked()),
                Err(RefusalCode::WRONG),
                "bit {at}"
            );
        }
        for len in 1..shown.as_bytes().len() {
            let cut = Credentials::new(&shown.as_bytes()[..len]).unwrap();
            assert_eq!(verify(cut, asked()), Err(RefusalCode::WRONG), "{len} bytes");
        }
        let longer = [shown.as_bytes(), b"x"].concat();
        assert_eq!(verify(Credentials::new(longer).unwrap(), asked()), Err(RefusalCode::WRONG));
    }

    #[test]
    fn a_challenge_that_says_little_is_not_answered() {
        let secret = SharedSecret::new("bob", *b"first").unwrap();
        assert!(secret.credentials(&Challenge::new([0; 15], 0)).is_err());
        assert!(secret.credentials(&Challenge::new([0; 16], 0)).is_ok());
        assert!(SharedSecret::new("x".repeat(256), *b"first").is_err());
        assert!(!format!("{secret:?} {:?}", secrets()).contains("first"));
    }

    /// The test vector of docs/protocol.md: a proof with a nonce of zeros.
    #[test]
    fn the_proof_is_what_the_document_says() {
        let documented = [
            &b"bowline shared secret 1"[..],
            &[32],
            &CHALLENGE,
            &7_u64.to_be_bytes(),
            &[3],
            b"bob",
            &[0; 16],
        ]
        .concat();
        let mut plain = <Hmac<Sha256> as KeyInit>::new_from_slice(b"first").unwrap();
        plain.update(&documented);
        let ours = hmac(b"first", &CHALLENGE, 7, b"bob", &[0; 16]);
        assert_eq!(ours.finalize().into_bytes(), plain.finalize().into_bytes());
    }
}
