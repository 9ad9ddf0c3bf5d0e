//! ML-KEM (FIPS 203), as a key exchange: the initiator sends an encapsulation
//! key, the responder a ciphertext.
//!
//! The module draws its own randomness for it and takes no other. So with a
//! seeded source, keys and ciphertexts come from a second implementation, which
//! nothing else reaches. What a ciphertext stands for is always computed by the
//! module.

use aws_lc_rs::kem::{Algorithm, Ciphertext, DecapsulationKey, EncapsulationKey};
use aws_lc_rs::kem::{ML_KEM_512, ML_KEM_768, ML_KEM_1024};
use zeroize::Zeroizing;

use crate::error::{BadShare, CryptoError};
use crate::kex::SharedSecret;
use crate::provider::Provider;

/// A parameter set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameters {
    MlKem512,
    MlKem768,
    MlKem1024,
}

impl Parameters {
    const fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::MlKem512 => &ML_KEM_512,
            Self::MlKem768 => &ML_KEM_768,
            Self::MlKem1024 => &ML_KEM_1024,
        }
    }
}

/// The initiator's key.
pub(crate) struct Private {
    parameters: Parameters,
    key: DecapsulationKey,
}

impl Private {
    /// A new key, and the encapsulation key that belongs to it.
    pub(crate) fn generate(
        provider: &mut Provider,
        parameters: Parameters,
    ) -> Result<(Self, Box<[u8]>), CryptoError> {
        if !provider.is_system() {
            return Self::from_seed(&Zeroizing::new(provider.array()), parameters);
        }
        let key =
            DecapsulationKey::generate(parameters.algorithm()).map_err(|_| CryptoError::Module)?;
        let public = key.encapsulation_key().and_then(|public| {
            let octets = public.key_bytes()?;
            Ok(octets.as_ref().into())
        });
        Ok((Self { parameters, key }, public.map_err(|_| CryptoError::Module)?))
    }

    pub(crate) fn from_seed(
        seed: &[u8; 64],
        parameters: Parameters,
    ) -> Result<(Self, Box<[u8]>), CryptoError> {
        let (expanded, public) = match parameters {
            Parameters::MlKem512 => seeded::key_512(seed),
            Parameters::MlKem768 => seeded::key_768(seed),
            Parameters::MlKem1024 => seeded::key_1024(seed),
        };
        let key = DecapsulationKey::new(parameters.algorithm(), &expanded);
        Ok((Self { parameters, key: key.map_err(|_| CryptoError::Module)? }, public))
    }

    pub(crate) const fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// What the ciphertext stands for. One that was not made with our key gives
    /// a secret that nobody else has (FIPS 203 section 6.3).
    pub(crate) fn decapsulate(&self, ciphertext: &[u8]) -> Result<SharedSecret, BadShare> {
        let secret = self.key.decapsulate(Ciphertext::from(ciphertext)).map_err(|_| BadShare)?;
        Ok(SharedSecret::new(secret.as_ref()))
    }
}

/// A secret, and the ciphertext that tells it to the holder of the private key.
/// A key with coefficients that are not reduced is refused (FIPS 203 section 7.2).
pub(crate) fn encapsulate(
    provider: &mut Provider,
    parameters: Parameters,
    peer_public: &[u8],
) -> Result<(Box<[u8]>, SharedSecret), BadShare> {
    if !provider.is_system() {
        return encapsulate_with(&Zeroizing::new(provider.array()), parameters, peer_public);
    }
    let key = EncapsulationKey::new(parameters.algorithm(), peer_public).map_err(|_| BadShare)?;
    let (ciphertext, secret) = key.encapsulate().map_err(|_| BadShare)?;
    Ok((ciphertext.as_ref().into(), SharedSecret::new(secret.as_ref())))
}

pub(crate) fn encapsulate_with(
    message: &[u8; 32],
    parameters: Parameters,
    peer_public: &[u8],
) -> Result<(Box<[u8]>, SharedSecret), BadShare> {
    let (ciphertext, secret) = match parameters {
        Parameters::MlKem512 => seeded::encapsulate_512(message, peer_public),
        Parameters::MlKem768 => seeded::encapsulate_768(message, peer_public),
        Parameters::MlKem1024 => seeded::encapsulate_1024(message, peer_public),
    }
    .ok_or(BadShare)?;
    Ok((ciphertext, SharedSecret::new(secret.as_slice())))
}

/// The second implementation, for sources whose octets are known beforehand.
mod seeded {
    #[expect(deprecated, reason = "the form of a key that the module takes")]
    use ml_kem::ExpandedKeyEncoding as _;
    use ml_kem::{KeyExport as _, ml_kem_512, ml_kem_768, ml_kem_1024};
    use zeroize::Zeroizing;

    /// The expanded decapsulation key and the encapsulation key.
    type KeyPair = (Zeroizing<Vec<u8>>, Box<[u8]>);
    /// The ciphertext and the secret.
    type Encapsulated = (Box<[u8]>, Zeroizing<[u8; 32]>);

    macro_rules! parameters {
        ($module:ident, $key:ident, $encapsulate:ident) => {
            #[expect(deprecated, reason = "the form of a key that the module takes")]
            pub(super) fn $key(seed: &[u8; 64]) -> KeyPair {
                let key = $module::DecapsulationKey::from_seed((*seed).into());
                let expanded = Zeroizing::new(key.to_expanded_bytes().to_vec());
                (expanded, key.encapsulation_key().to_bytes().as_slice().into())
            }

            pub(super) fn $encapsulate(message: &[u8; 32], public: &[u8]) -> Option<Encapsulated> {
                let key = $module::EncapsulationKey::new(public.try_into().ok()?).ok()?;
                let (ciphertext, secret) = key.encapsulate_deterministic(&(*message).into());
                Some((ciphertext.as_slice().into(), Zeroizing::new(secret.into())))
            }
        };
    }

    parameters!(ml_kem_512, key_512, encapsulate_512);
    parameters!(ml_kem_768, key_768, encapsulate_768);
    parameters!(ml_kem_1024, key_1024, encapsulate_1024);
}
