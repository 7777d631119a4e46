//! Keys that the workers of one port share.

use super::Steering;
use crate::wire::Name;
use aws_lc_rs::{hkdf, hmac};
use quinn::crypto::{HandshakeTokenKey, HmacKey};
#[cfg(test)]
use rand::Rng;
use std::fmt;
use std::sync::Arc;

/// Keys that all workers on one port share, so that any of them can finish what another began.
///
/// They outlive the process: all come from the private key of the port's certificate and the
/// member's name. So a member that was killed and started again can tell peers at once, by
/// stateless resets, that their connections are gone; otherwise they would wait for their idle
/// timeouts. Who has the private key could end connections anyway.
///
/// The ports of a member have different ones, and so have members of different names, although they
/// may share a certificate. An endpoint answers a packet of a connection that it does not know
/// with a stateless reset: if two ports made the same one for the same id, whoever saw a client's
/// packet on one port could send it to the other, and end the client's connection with the answer.
#[derive(Clone)]
pub(crate) struct EndpointSecrets {
    pub(super) reset: Arc<dyn HmacKey>,
    pub(super) token: Arc<dyn HandshakeTokenKey>,
}

impl fmt::Debug for EndpointSecrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EndpointSecrets").finish_non_exhaustive()
    }
}

impl EndpointSecrets {
    /// Keys for a port of a member, from the private key of the certificate that it shows there.
    pub(crate) fn of_member(private_key: &[u8], name: &Name, steering: Steering) -> Self {
        let mut master = blake3::Hasher::new_derive_key("understudy 1 port: master key");
        // The name's length first: no name and key together look like another pair.
        master.update(&(name.as_str().len() as u64).to_be_bytes());
        master.update(name.as_str().as_bytes());
        master.update(private_key);
        Self::derive(master.finalize().as_bytes(), steering)
    }

    /// Keys for a port that nobody else has, and that do not outlive the process.
    #[cfg(test)]
    pub(crate) fn random(steering: Steering) -> Self {
        let mut master = [0; 32];
        rand::rng().fill_bytes(&mut master);
        Self::derive(&master, steering)
    }

    /// Keys for a port, each derived from the same secret for its own purpose.
    pub(super) fn derive(master: &[u8; 32], steering: Steering) -> Self {
        let (reset, token) = match steering {
            Steering::Public => {
                ("understudy 1 public port: reset key", "understudy 1 public port: token key")
            }
            Steering::Backplane => {
                ("understudy 1 backplane port: reset key", "understudy 1 backplane port: token key")
            }
        };
        let reset = blake3::derive_key(reset, master);
        let token = blake3::derive_key(token, master);
        let token = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&token);
        Self { reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset)), token: Arc::new(token) }
    }

    /// What resets are made with.
    pub(crate) fn reset_key(&self) -> Arc<dyn HmacKey> {
        Arc::clone(&self.reset)
    }

    /// What Retry tokens are sealed with.
    pub(crate) fn token_key(&self) -> Arc<dyn HandshakeTokenKey> {
        Arc::clone(&self.token)
    }
}
