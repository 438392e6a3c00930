//! Keys for CURVE, from the system's randomness.

use std::io;

use bowline_zmtp::mechanism::SecretKey;

/// A new secret key for CURVE; [`SecretKey::public_key`] returns the matching public key.
///
/// # Errors
/// The system has no randomness.
///
/// ```
/// let (one, other) = (bowline_zmtp_driver::generate_secret_key()?, bowline_zmtp_driver::generate_secret_key()?);
/// assert_ne!(one.public_key(), other.public_key());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn generate_secret_key() -> io::Result<SecretKey> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(SecretKey::new(key))
}
