//! TLS of the listeners: certificates out of PEM files, versions and ciphers as `[tls]` has them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};

use super::inputs::InputTls;
use crate::config::{Config, Tls};

/// What `[tls]` asks for, checked.
struct Rules {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
}

/// Of the HTTP listener, when it is HTTPS.
pub fn of_http(config: &Config) -> Result<Option<Arc<rustls::ServerConfig>>, String> {
    let rules = Rules::new(&config.tls)?;
    let http = &config.http;
    http.https_enabled.then(|| rules.server(&http.https_certificate, &http.https_private_key)).transpose()
}

/// Of the listeners beside HTTP.
pub fn of_inputs(config: &Config) -> Result<InputTls, String> {
    let rules = Rules::new(&config.tls)?;
    let tcp = config.tcp.iter().map(|section| {
        let is_on = section.enabled && section.tls_enabled;
        is_on.then(|| rules.server(&section.certificate, &section.private_key)).transpose()
    });
    let opentsdb = config.opentsdb.iter().map(|section| {
        let is_on = section.enabled && section.tls_enabled;
        is_on.then(|| rules.server(&section.certificate, Path::new(""))).transpose()
    });
    Ok(InputTls {
        tcp: tcp.collect::<Result<_, String>>()?,
        opentsdb: opentsdb.collect::<Result<_, String>>()?,
    })
}

/// Of what is sent to subscribers.
pub fn of_subscriber(config: &Config) -> Result<Option<Arc<rustls::ClientConfig>>, String> {
    let section = &config.subscriber;
    section
        .enabled
        .then(|| Rules::new(&config.tls)?.client(&section.ca_certs, section.insecure_skip_verify))
        .transpose()
}

/// Where systems keep the certificates they trust.
const SYSTEM_CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

impl Rules {
    fn new(tls: &Tls) -> Result<Self, String> {
        let min = version(&tls.min_version, "min-version")?.unwrap_or(2);
        let max = version(&tls.max_version, "max-version")?.unwrap_or(3);
        let versions: Vec<_> =
            [(2, &TLS12), (3, &TLS13)].iter().filter(|(n, _)| (min..=max).contains(n)).map(|v| v.1).collect();
        if versions.is_empty() {
            return Err("tls.min-version is above tls.max-version".to_owned());
        }
        let mut provider = rustls::crypto::ring::default_provider();
        if !tls.ciphers.is_empty() {
            let known: Vec<String> =
                provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
            for cipher in &tls.ciphers {
                if !known.iter().any(|known| is_named(known, cipher)) {
                    return Err(format!(
                        "tls.ciphers: {cipher} is not supported; supported are {}",
                        known.join(", ")
                    ));
                }
            }
            // Those of TLS 1.3 are not a matter of choice, as in InfluxDB.
            provider.cipher_suites.retain(|suite| {
                let name = format!("{:?}", suite.suite());
                suite.tls13().is_some() || tls.ciphers.iter().any(|cipher| is_named(&name, cipher))
            });
        }
        Ok(Self { provider: Arc::new(provider), versions })
    }

    /// Trusts `ca_certs`, or what the system trusts; with `skip_verify` everybody.
    fn client(&self, ca_certs: &str, skip_verify: bool) -> Result<Arc<rustls::ClientConfig>, String> {
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            .map_err(|error| error.to_string())?;
        if skip_verify {
            let verifier = Arc::new(Credulous(Arc::clone(&self.provider)));
            let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
            return Ok(Arc::new(builder.with_no_client_auth()));
        }
        let mut trusted = rustls::RootCertStore::empty();
        let given = [ca_certs];
        let files: &[&str] = if ca_certs.is_empty() { &SYSTEM_CERTIFICATES } else { &given };
        for file in files {
            let text = match fs::read(file) {
                Ok(text) => text,
                Err(_) if ca_certs.is_empty() => continue,
                Err(error) => return Err(format!("subscriber.ca-certs {file}: {error}")),
            };
            trusted.add_parsable_certificates(rustls_pemfile::certs(&mut text.as_slice()).flatten());
            break;
        }
        Ok(Arc::new(builder.with_root_certificates(trusted).with_no_client_auth()))
    }

    /// An empty `key` stands in the certificate's file.
    fn server(&self, certificate: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, String> {
        let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let key = if key.as_os_str().is_empty() { certificate } else { key };
        let chain = rustls_pemfile::certs(&mut read(certificate)?.as_slice())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("{}: {error}", certificate.display()))?;
        let private = rustls_pemfile::private_key(&mut read(key)?.as_slice())
            .map_err(|error| format!("{}: {error}", key.display()))?
            .ok_or_else(|| format!("{}: no private key", key.display()))?;
        rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .map(Arc::new)
            .map_err(|error| format!("{}: {error}", certificate.display()))
    }
}

/// Believes every server: `insecure-skip-verify`.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The minor version: `tls1.2` is 2. Older ones are not offered by anything here, so asking for them is an error.
fn version(text: &str, key: &str) -> Result<Option<u8>, String> {
    match text.to_ascii_lowercase().as_str() {
        "" => Ok(None),
        "tls1.2" => Ok(Some(2)),
        "tls1.3" => Ok(Some(3)),
        _ => Err(format!("tls.{key} must be \"tls1.2\" or \"tls1.3\", it is {text:?}")),
    }
}

/// Configurations call the suites of TLS 1.3 `TLS_…`, not `TLS13_…`.
fn is_named(known: &str, wanted: &str) -> bool {
    known.eq_ignore_ascii_case(wanted)
        || known.strip_prefix("TLS13_").is_some_and(|known| wanted.strip_prefix("TLS_") == Some(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(ciphers: &[&str], min: &str, max: &str) -> Result<Rules, String> {
        let ciphers = ciphers.iter().map(|&cipher| cipher.to_owned()).collect();
        Rules::new(&Tls { ciphers, min_version: min.to_owned(), max_version: max.to_owned() })
    }

    #[test]
    fn versions_and_ciphers_are_those_asked_for_or_refused() {
        assert_eq!(rules(&[], "", "").unwrap().versions.len(), 2);
        assert_eq!(rules(&[], "tls1.3", "").unwrap().versions, [&TLS13]);
        assert_eq!(rules(&[], "", "TLS1.2").unwrap().versions, [&TLS12]);
        assert!(rules(&[], "tls1.0", "").is_err());
        assert!(rules(&[], "tls1.3", "tls1.2").is_err());
        assert!(rules(&["TLS_RSA_WITH_RC4_128_SHA"], "", "").is_err());
        let chosen = rules(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], "", "").unwrap();
        assert_eq!(chosen.provider.cipher_suites.iter().filter(|suite| suite.tls13().is_none()).count(), 1);
    }
}
