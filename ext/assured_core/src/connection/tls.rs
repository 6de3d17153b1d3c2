//! How TLS is spoken, and whom it trusts.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};

use crate::settings::{Pem, Tls, Verify};

/// Reads certificates and keys from their files each time, because they are renewed while processes run.
pub(super) fn config(tls: &Tls) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let versions: &[&SupportedProtocolVersion] = match (tls.min_version, tls.max_version) {
        (13, _) => &[&rustls::version::TLS13],
        (_, 12) => &[&rustls::version::TLS12],
        _ => rustls::ALL_VERSIONS,
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions);
    let builder = builder
        .map_err(refusal)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(tls, provider)?));
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|_| unusable("the client's private key cannot be read".to_owned()))?;
            builder.with_client_auth_cert(certificates(certificate)?, key).map_err(refusal)?
        }
    };
    Ok(Arc::new(config))
}

/// The name that the certificate must bear, and that the server is told (SNI) where it is no address.
pub(super) fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|error| unusable(format!("{host:?}: {error}")))
}

/// An error of TLS, which does not go away by itself.
pub(super) fn refusal(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Whether an error is one of TLS.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<Error>())
}

fn unusable(message: String) -> io::Error {
    refusal(Error::General(message))
}

fn read(pem: &Pem) -> io::Result<Vec<u8>> {
    match pem {
        Pem::Text(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => std::fs::read(path).map_err(|error| unusable(format!("{path}: {error}"))),
    }
}

fn certificates(pem: &Pem) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(&read(pem)?)
        .collect::<Result<_, _>>()
        .map_err(|_| unusable("the client's certificate cannot be read".to_owned()))
}

/// The authorities that are trusted. As in OpenSSL, those of the system are where none is named.
fn roots(tls: &Tls) -> io::Result<(RootCertStore, Vec<CertificateDer<'static>>)> {
    let file = tls.ca_file.as_deref().map(Path::new);
    let path = tls.ca_path.as_deref().map(Path::new);
    let CertificateResult { certs, errors, .. } = match (file, path) {
        (None, None) => load_native_certs(),
        _ => load_certs_from_paths(file, path),
    };
    let mut roots = RootCertStore::empty();
    // One that rustls cannot use is of no harm as long as another one signed the server's.
    let (usable, _) = roots.add_parsable_certificates(certs.iter().cloned());
    if usable == 0 {
        let why = errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(unusable(format!("no certificate of an authority can be read: {why}")));
    }
    Ok((roots, certs))
}

/// The usual verification, less what the settings waive.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// None: any certificate will do.
    inner: Option<Arc<WebPkiServerVerifier>>,
    trusted: Vec<CertificateDer<'static>>,
    name: bool,
}

impl Verifier {
    fn new(tls: &Tls, provider: Arc<CryptoProvider>) -> io::Result<Self> {
        if tls.verify == Verify::Nothing {
            return Ok(Self { provider, inner: None, trusted: Vec::new(), name: false });
        }
        let (roots, trusted) = roots(tls)?;
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self { provider, inner: Some(inner), trusted, name: tls.verify == Verify::CertificateAndName })
    }
}

/// Whether all that speaks against a certificate is that it is an authority's. Its dates come first.
fn is_authority(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::Other(cause)) => {
            format!("{cause:?}").contains("CaUsedAsEndEntity")
        }
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        let verdict = match inner.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // One that signed itself, and that is trusted by itself. OpenSSL takes it, too.
            Err(error) if is_authority(&error) && self.trusted.iter().any(|one| one == certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
                    .map(|()| ServerCertVerified::assertion())
            }
            verdict => verdict,
        };
        // The name is looked at last, after all that makes a certificate valid.
        match verdict {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
