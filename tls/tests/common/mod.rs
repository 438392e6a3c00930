//! Certificates made on the spot.

#![allow(dead_code, unreachable_pub, reason = "each test has use for some of it")]

use bowline_tls::{Certificates, Identity, RevocationLists};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

/// An issuer of certificates.
pub struct Authority {
    pub pem: String,
    pub der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is to say beside its names.
#[derive(Clone, Copy, Default)]
pub struct Says {
    pub years: Option<(i32, i32)>,
    pub serial: u64,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("randomness");
        let certificate = params.self_signed(&key).expect("sound");
        let (pem, der) = (certificate.pem(), certificate.der().to_vec());
        Self { pem, der, issuer: Issuer::new(params, key) }
    }

    pub fn roots(&self) -> Certificates {
        Certificates::from_pem(&self.pem).expect("a certificate")
    }

    /// The certificate and the key, in PEM.
    pub fn issue_pem(&self, names: &[&str], says: Says) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if let Some((from, to)) = says.years {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        }
        if says.serial > 0 {
            params.serial_number = Some(SerialNumber::from(says.serial));
        }
        let key = KeyPair::generate().expect("randomness");
        let certificate = params.signed_by(&key, &self.issuer).expect("sound");
        (certificate.pem(), key.serialize_pem())
    }

    pub fn issue_with(&self, names: &[&str], says: Says) -> Identity {
        let (chain, key) = self.issue_pem(names, says);
        Identity::from_pem(chain, key).expect("both are there")
    }

    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, Says::default())
    }

    /// The list of what it took back.
    pub fn revoked(&self, serials: &[u64]) -> RevocationLists {
        let revoked = serials.iter().map(|&serial| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("sound");
        RevocationLists::from_pem(list.pem().expect("PEM")).expect("a list")
    }
}
