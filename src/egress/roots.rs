//! Whom the host trusts: the authorities by which the gate judges servers, and of which the jail is told.
//!
//! Owns finding and reading them, and the forms in which programs read them. Must not judge a certificate.

use std::fs::File;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Where hosts keep them, the first that is there: Debian and most others, Fedora, older ones, SUSE, Alpine.
const PLACES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];
/// No host has more.
const LONGEST: u64 = 1 << 20;

/// The authorities of this host; none where it has none, and then no server is believed.
pub fn of_this_host() -> Vec<CertificateDer<'static>> {
    let text = PLACES.iter().find_map(|place| {
        let mut text = Vec::new();
        File::open(place).ok()?.take(LONGEST).read_to_end(&mut text).ok()?;
        Some(text)
    });
    CertificateDer::pem_slice_iter(&text.unwrap_or_default()).filter_map(Result::ok).collect()
}

/// As servers are judged by them. What is no authority is left out, as browsers do.
pub fn store(roots: &[CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    store
}

/// As nearly all programs read them. RFC 7468.
pub fn pem<'a>(certificates: impl Iterator<Item = &'a CertificateDer<'static>>) -> Vec<u8> {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        for line in encoded.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text.into_bytes()
}

/// As Java reads them: a key store of its own form, version 2. What ends it is no digest, which is looked at only by
/// those who give a password.
pub fn jks<'a>(certificates: impl Iterator<Item = &'a CertificateDer<'static>>) -> Vec<u8> {
    const TRUSTED: u32 = 2;
    let word = |text: &str| [&u16::try_from(text.len()).unwrap_or(0).to_be_bytes()[..], text.as_bytes()].concat();
    let (mut entries, mut count) = (Vec::new(), 0u32);
    for certificate in certificates {
        let Ok(length) = u32::try_from(certificate.len()) else { continue };
        entries.extend(TRUSTED.to_be_bytes());
        entries.extend(word(&format!("ca{count}")));
        // When it was put in: nobody looks.
        entries.extend(0u64.to_be_bytes());
        entries.extend(word("X.509"));
        entries.extend(length.to_be_bytes());
        entries.extend_from_slice(certificate);
        count += 1;
    }
    let head = [&[0xfe, 0xed, 0xfe, 0xed][..], &2u32.to_be_bytes(), &count.to_be_bytes()].concat();
    [head, entries, vec![0; 20]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let certificates: Vec<CertificateDer<'static>> = vec![vec![1; 100].into(), vec![2; 48].into(), vec![].into()];
        let text = pem(certificates.iter());
        let read: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().expect("all of it");
        assert_eq!(read, certificates);
    }

    #[test]
    fn a_key_store_has_each_certificate_with_its_length() {
        let store = jks([CertificateDer::from(vec![7; 3])].iter());
        let wanted = [
            &[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 3][..],
            b"ca0",
            &[0; 8],
            &[0, 5],
            b"X.509",
            &[0, 0, 0, 3, 7, 7, 7],
            &[0; 20],
        ];
        assert_eq!(store, wanted.concat());
    }
}
