//! The functions of libsodium that libzmq uses, implemented with RustCrypto, independently of Bowline's
//! implementation.
//!
//! Declared in `include/sodium.h`. In NaCl's format a plain text begins with 32 zero bytes, a box with 16 and
//! its MAC.

use std::ffi::{c_int, c_uchar, c_ulonglong, c_void};
use std::slice::{from_raw_parts, from_raw_parts_mut};

use crypto_box::{PublicKey, SalsaBox, SecretKey};
use crypto_secretbox::aead::{AeadInPlace, generic_array::typenum};
use crypto_secretbox::{Kdf, Key, KeyInit, Nonce, Tag, XSalsa20Poly1305};
use curve25519_dalek::montgomery::MontgomeryPoint;

const KEY: usize = 32;
const NONCE: usize = 24;
/// Zero bytes in front of a plain text.
const ZEROS: usize = 32;
/// Zero bytes in front of a box.
const BOX_ZEROS: usize = 16;

const DONE: c_int = 0;
const FAILED: c_int = -1;

unsafe extern "C" {
    fn calloc(count: usize, size: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
}

/// # Safety
/// So many bytes can be read there.
unsafe fn array<const N: usize>(bytes: *const c_uchar) -> [u8; N] {
    // SAFETY: the caller's.
    unsafe { bytes.cast::<[u8; N]>().read() }
}

/// # Safety
/// So many bytes can be written there.
unsafe fn put(out: *mut c_uchar, bytes: &[u8]) {
    // SAFETY: the caller's. What is written is our own, so that both do not overlap.
    unsafe { from_raw_parts_mut(out, bytes.len()) }.copy_from_slice(bytes);
}

/// # Safety
/// `length` bytes can be read at `from` and written at `to`.
unsafe fn sealed<C: AeadInPlace<NonceSize = typenum::U24, TagSize = typenum::U16>>(
    with: &C,
    (to, from): (*mut c_uchar, *const c_uchar),
    length: c_ulonglong,
    nonce: &[u8; NONCE],
) -> c_int {
    let Some(length) = usize::try_from(length).ok().filter(|length| *length >= ZEROS) else { return FAILED };
    // SAFETY: the caller's.
    let mut bytes = unsafe { from_raw_parts(from, length) }.to_vec();
    let Ok(tag) = with.encrypt_in_place_detached(Nonce::from_slice(nonce), b"", &mut bytes[ZEROS..]) else {
        return FAILED;
    };
    bytes[..BOX_ZEROS].fill(0);
    bytes[BOX_ZEROS..ZEROS].copy_from_slice(&tag);
    // SAFETY: the caller's.
    unsafe { put(to, &bytes) };
    DONE
}

/// # Safety
/// `length` bytes can be read at `from` and written at `to`.
unsafe fn opened<C: AeadInPlace<NonceSize = typenum::U24, TagSize = typenum::U16>>(
    with: &C,
    (to, from): (*mut c_uchar, *const c_uchar),
    length: c_ulonglong,
    nonce: &[u8; NONCE],
) -> c_int {
    let Some(length) = usize::try_from(length).ok().filter(|length| *length >= ZEROS) else { return FAILED };
    // SAFETY: the caller's.
    let mut bytes = unsafe { from_raw_parts(from, length) }.to_vec();
    let tag = Tag::clone_from_slice(&bytes[BOX_ZEROS..ZEROS]);
    if with.decrypt_in_place_detached(Nonce::from_slice(nonce), b"", &mut bytes[ZEROS..], &tag).is_err() {
        return FAILED;
    }
    bytes[..ZEROS].fill(0);
    // SAFETY: the caller's.
    unsafe { put(to, &bytes) };
    DONE
}

/// Nothing is to be set up.
#[unsafe(no_mangle)]
extern "C" fn sodium_init() -> c_int {
    DONE
}

#[unsafe(no_mangle)]
extern "C" fn sodium_allocarray(count: usize, size: usize) -> *mut c_void {
    // SAFETY: it takes any numbers, and fails if their product is too much.
    unsafe { calloc(count, size) }
}

/// # Safety
/// The memory is of [`sodium_allocarray`] and is not used again.
#[unsafe(no_mangle)]
unsafe extern "C" fn sodium_free(memory: *mut c_void) {
    // SAFETY: the caller's.
    unsafe { free(memory) };
}

/// # Safety
/// So many bytes can be written there.
#[unsafe(no_mangle)]
unsafe extern "C" fn randombytes(out: *mut c_uchar, length: c_ulonglong) {
    let length = usize::try_from(length).expect("it fits into memory");
    // SAFETY: the caller's.
    let out = unsafe { from_raw_parts_mut(out, length) };
    getrandom::fill(out).expect("the system has randomness");
}

#[unsafe(no_mangle)]
extern "C" fn randombytes_close() -> c_int {
    DONE
}

/// # Safety
/// A key can be read at `secret` and written at `public`.
#[unsafe(no_mangle)]
unsafe extern "C" fn crypto_scalarmult_base(public: *mut c_uchar, secret: *const c_uchar) -> c_int {
    // SAFETY: the caller's.
    unsafe { put(public, SecretKey::from(array::<KEY>(secret)).public_key().as_bytes()) };
    DONE
}

/// # Safety
/// A key can be written at both.
#[unsafe(no_mangle)]
unsafe extern "C" fn crypto_box_keypair(public: *mut c_uchar, secret: *mut c_uchar) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        randombytes(secret, KEY as c_ulonglong);
        crypto_scalarmult_base(public, secret)
    }
}

/// # Safety
/// A key can be read at `public` and at `secret`.
unsafe fn between(public: *const c_uchar, secret: *const c_uchar) -> SalsaBox {
    // SAFETY: the caller's.
    let (public, secret) = unsafe { (array::<KEY>(public), array::<KEY>(secret)) };
    SalsaBox::new(&PublicKey::from(public), &SecretKey::from(secret))
}

/// # Safety
/// `length` bytes can be read at `plain` and written at `out`; a nonce and keys can be read.
#[unsafe(no_mangle)]
unsafe extern "C" fn crypto_box(
    out: *mut c_uchar,
    plain: *const c_uchar,
    length: c_ulonglong,
    nonce: *const c_uchar,
    public: *const c_uchar,
    secret: *const c_uchar,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { sealed(&between(public, secret), (out, plain), length, &array(nonce)) }
}

/// # Safety
/// `length` bytes can be read at `sealed` and written at `out`; a nonce and keys can be read.
#[unsafe(no_mangle)]
unsafe extern "C" fn crypto_box_open(
    out: *mut c_uchar,
    sealed: *const c_uchar,
    length: c_ulonglong,
    nonce: *const c_uchar,
    public: *const c_uchar,
    secret: *const c_uchar,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { opened(&between(public, secret), (out, sealed), length, &array(nonce)) }
}

/// # Safety
/// A key can be read at `public` and at `secret` and written at `out`.
#[unsafe(no_mangle)]
unsafe extern "C" fn crypto_box_beforenm(
    out: *mut c_uchar,
    public: *const c_uchar,
    secret: *const c_uchar,
) -> c_int {
    // SAFETY: the caller's.
    let (public, secret) = unsafe { (array::<KEY>(public), array::<KEY>(secret)) };
    let shared = MontgomeryPoint(public).mul_clamped(secret);
    if shared.to_bytes() == [0; KEY] {
        return FAILED;
    }
    let key = XSalsa20Poly1305::kdf(Key::from_slice(shared.as_bytes()), &Default::default());
    // SAFETY: the caller's.
    unsafe { put(out, &key) };
    DONE
}

/// # Safety
/// `length` bytes can be read at `plain` and written at `out`; a nonce and a key can be read.
#[unsafe(no_mangle)]
unsafe extern "C" fn crypto_secretbox(
    out: *mut c_uchar,
    plain: *const c_uchar,
    length: c_ulonglong,
    nonce: *const c_uchar,
    key: *const c_uchar,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let key = XSalsa20Poly1305::new(Key::from_slice(&array::<KEY>(key)));
        sealed(&key, (out, plain), length, &array(nonce))
    }
}

/// # Safety
/// `length` bytes can be read at `sealed` and written at `out`; a nonce and a key can be read.
#[unsafe(no_mangle)]
unsafe extern "C" fn crypto_secretbox_open(
    out: *mut c_uchar,
    sealed: *const c_uchar,
    length: c_ulonglong,
    nonce: *const c_uchar,
    key: *const c_uchar,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let key = XSalsa20Poly1305::new(Key::from_slice(&array::<KEY>(key)));
        opened(&key, (out, sealed), length, &array(nonce))
    }
}

/// # Safety
/// As [`crypto_secretbox`]: it is the same.
#[unsafe(no_mangle)]
unsafe extern "C" fn crypto_box_afternm(
    out: *mut c_uchar,
    plain: *const c_uchar,
    length: c_ulonglong,
    nonce: *const c_uchar,
    key: *const c_uchar,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { crypto_secretbox(out, plain, length, nonce, key) }
}

/// # Safety
/// As [`crypto_secretbox_open`]: it is the same.
#[unsafe(no_mangle)]
unsafe extern "C" fn crypto_box_open_afternm(
    out: *mut c_uchar,
    sealed: *const c_uchar,
    length: c_ulonglong,
    nonce: *const c_uchar,
    key: *const c_uchar,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { crypto_secretbox_open(out, sealed, length, nonce, key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: c_ulonglong = 40;

    /// A key pair, public first.
    fn pair() -> ([u8; KEY], [u8; KEY]) {
        let (mut public, mut secret) = ([0; KEY], [0; KEY]);
        // SAFETY: both have room for a key.
        unsafe { crypto_box_keypair(public.as_mut_ptr(), secret.as_mut_ptr()) };
        (public, secret)
    }

    #[test]
    fn a_box_opens_with_the_other_keys_and_with_the_key_that_both_have() {
        let (ours, theirs, nonce) = (pair(), pair(), [5_u8; NONCE]);
        let mut plain = [0_u8; LENGTH as usize];
        plain[ZEROS..].copy_from_slice(b"eight of");
        let (mut sealed, mut opened, mut key) = ([1_u8; LENGTH as usize], [1_u8; LENGTH as usize], [0; KEY]);
        // SAFETY: all have the lengths that are said, or those of keys and of a nonce.
        unsafe {
            let (n, public, secret) = (nonce.as_ptr(), theirs.0.as_ptr(), ours.1.as_ptr());
            assert_eq!(crypto_box(sealed.as_mut_ptr(), plain.as_ptr(), LENGTH, n, public, secret), DONE);
            assert_eq!(sealed[..BOX_ZEROS], [0; BOX_ZEROS]);
            let (public, secret) = (ours.0.as_ptr(), theirs.1.as_ptr());
            let from = sealed.as_ptr();
            assert_eq!(crypto_box_open(opened.as_mut_ptr(), from, LENGTH, n, public, secret), DONE);
            assert_eq!(opened, plain);
            assert_eq!(crypto_box_beforenm(key.as_mut_ptr(), public, secret), DONE);
            opened.fill(1);
            assert_eq!(crypto_box_open_afternm(opened.as_mut_ptr(), from, LENGTH, n, key.as_ptr()), DONE);
            assert_eq!(opened, plain);
            sealed[39] ^= 1;
            let from = sealed.as_ptr();
            assert_eq!(crypto_box_open_afternm(opened.as_mut_ptr(), from, LENGTH, n, key.as_ptr()), FAILED);
            assert_eq!(crypto_box_open_afternm(opened.as_mut_ptr(), from, 31, n, key.as_ptr()), FAILED);
        }
    }
}
