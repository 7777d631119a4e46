//! Keys that the workers of one port share.

use super::Steering;
use aws_lc_rs::{hkdf, hmac};
use quinn::crypto::{HandshakeTokenKey, HmacKey};
use rand::Rng;
use std::fmt;
use std::sync::Arc;

/// Keys that all workers on one port share, so that any of them can finish what another began.
///
/// The ports of a process have different ones, and so has every process, although they may all come
/// from the same master key. An endpoint answers a packet of a connection that it does not know
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
    /// Keys for a port of this process, which nobody else has.
    pub(crate) fn random(steering: Steering) -> Self {
        let mut master = [0; 32];
        rand::rng().fill_bytes(&mut master);
        Self::derive(&master, steering)
    }

    /// Keys for a port, from a secret of this process. One that outlives the process lets a
    /// restarted one tell its clients at once, by resets, that their connections are gone.
    pub(crate) fn derive(master: &[u8; 32], steering: Steering) -> Self {
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
