//! TLS of the listeners: certificates out of PEM files, versions and ciphers as `[tls]` has them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};

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

/// Of each `[[tcp]]` section, by position.
pub fn of_tcp(config: &Config) -> Result<Vec<Option<Arc<rustls::ServerConfig>>>, String> {
    let rules = Rules::new(&config.tls)?;
    let sections = config.tcp.iter().map(|section| {
        let is_on = section.enabled && section.tls_enabled;
        is_on.then(|| rules.server(&section.certificate, &section.private_key)).transpose()
    });
    sections.collect()
}

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
