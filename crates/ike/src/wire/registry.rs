//! The number spaces of the "IKEv2 Parameters" registry that are not large
//! enough for a file of their own.
//!
//! A number space is open: a value is a newtype with named constants, so that
//! an unknown number is carried as it came and never an error by itself.

/// Defines an open number space: a newtype, its known values as constants with
/// their source, and their names for `Display`.
macro_rules! registry {
    (
        $(#[$doc:meta])*
        $type:ident($int:ty);
        $( $name:ident = $value:literal, $source:literal; )*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub $int);

        impl $type {
            $(
                #[doc = concat!(stringify!($value), " (", $source, ")")]
                pub const $name: Self = Self($value);
            )*

            /// The name of the value, if it is known here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $( Self::$name => Some(stringify!($name)), )*
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    };
}
pub(super) use registry;

registry! {
    /// Which exchange a message belongs to (RFC 7296 section 3.1), without the
    /// prefix `IKE_` of the registry.
    ExchangeType(u8);
    SA_INIT = 34, "RFC 7296";
    AUTH = 35, "RFC 7296";
    CREATE_CHILD_SA = 36, "RFC 7296";
    INFORMATIONAL = 37, "RFC 7296";
    SESSION_RESUME = 38, "RFC 5723";
    INTERMEDIATE = 43, "RFC 9242";
    FOLLOWUP_KE = 44, "RFC 9370";
}

registry! {
    /// The type of a payload (RFC 7296 section 3.2).
    PayloadType(u8);
    NONE = 0, "RFC 7296: no next payload";
    SA = 33, "RFC 7296 section 3.3";
    KE = 34, "RFC 7296 section 3.4";
    ID_I = 35, "RFC 7296 section 3.5";
    ID_R = 36, "RFC 7296 section 3.5";
    CERT = 37, "RFC 7296 section 3.6";
    CERTREQ = 38, "RFC 7296 section 3.7";
    AUTH = 39, "RFC 7296 section 3.8";
    NONCE = 40, "RFC 7296 section 3.9";
    NOTIFY = 41, "RFC 7296 section 3.10";
    DELETE = 42, "RFC 7296 section 3.11";
    VENDOR_ID = 43, "RFC 7296 section 3.12";
    TS_I = 44, "RFC 7296 section 3.13";
    TS_R = 45, "RFC 7296 section 3.13";
    SK = 46, "RFC 7296 section 3.14";
    CP = 47, "RFC 7296 section 3.15";
    EAP = 48, "RFC 7296 section 3.16";
    SKF = 53, "RFC 7383 section 2.5";
    PS = 54, "RFC 8019 section 8.2";
}

registry! {
    /// A security protocol (RFC 7296 section 3.3.1).
    Protocol(u8);
    NONE = 0, "RFC 7296: the notify concerns no SA";
    IKE = 1, "RFC 7296";
    AH = 2, "RFC 7296";
    ESP = 3, "RFC 7296";
}

registry! {
    /// How an identity is written (RFC 7296 section 3.5).
    IdType(u8);
    IPV4_ADDR = 1, "RFC 7296";
    FQDN = 2, "RFC 7296";
    RFC822_ADDR = 3, "RFC 7296";
    IPV6_ADDR = 5, "RFC 7296";
    DER_ASN1_DN = 9, "RFC 7296";
    DER_ASN1_GN = 10, "RFC 7296";
    KEY_ID = 11, "RFC 7296";
    FC_NAME = 12, "RFC 4595";
    NULL = 13, "RFC 7619";
}

registry! {
    /// What a Certificate payload carries (RFC 7296 section 3.6).
    CertEncoding(u8);
    PKCS7_X509 = 1, "RFC 7296";
    PGP = 2, "RFC 7296";
    DNS_SIGNED_KEY = 3, "RFC 7296";
    X509_SIGNATURE = 4, "RFC 7296";
    KERBEROS_TOKEN = 6, "RFC 7296";
    CRL = 7, "RFC 7296";
    ARL = 8, "RFC 7296";
    SPKI = 9, "RFC 7296";
    X509_ATTRIBUTE = 10, "RFC 7296";
    HASH_AND_URL_X509 = 12, "RFC 7296";
    HASH_AND_URL_BUNDLE = 13, "RFC 7296";
    OCSP_CONTENT = 14, "RFC 4806";
    RAW_PUBLIC_KEY = 15, "RFC 7670";
}

registry! {
    /// How an AUTH value was computed (RFC 7296 section 3.8).
    AuthMethod(u8);
    RSA_SIGNATURE = 1, "RFC 7296";
    SHARED_KEY_MIC = 2, "RFC 7296; also of a resumption, RFC 5723 section 4.3.3";
    DSS_SIGNATURE = 3, "RFC 7296";
    ECDSA_SHA256_P256 = 9, "RFC 4754";
    ECDSA_SHA384_P384 = 10, "RFC 4754";
    ECDSA_SHA512_P521 = 11, "RFC 4754";
    GENERIC_SECURE_PASSWORD = 12, "RFC 6467";
    NULL = 13, "RFC 7619";
    DIGITAL_SIGNATURE = 14, "RFC 7427";
}

registry! {
    /// A hash of SIGNATURE_HASH_ALGORITHMS (RFC 7427 section 4).
    HashAlgorithm(u16);
    SHA1 = 1, "RFC 7427";
    SHA2_256 = 2, "RFC 7427";
    SHA2_384 = 3, "RFC 7427";
    SHA2_512 = 4, "RFC 7427";
    IDENTITY = 5, "RFC 8420";
}

registry! {
    /// The form of a traffic selector (RFC 7296 section 3.13.1).
    TsType(u8);
    IPV4_ADDR_RANGE = 7, "RFC 7296";
    IPV6_ADDR_RANGE = 8, "RFC 7296";
    FC_ADDR_RANGE = 9, "RFC 4595";
    SECLABEL = 10, "RFC 9478";
}

registry! {
    /// What a Configuration payload is (RFC 7296 section 3.15).
    ConfigType(u8);
    REQUEST = 1, "RFC 7296";
    REPLY = 2, "RFC 7296";
    SET = 3, "RFC 7296";
    ACK = 4, "RFC 7296";
}

registry! {
    /// An item of configuration (RFC 7296 section 3.15.1).
    ConfigAttributeType(u16);
    INTERNAL_IP4_ADDRESS = 1, "RFC 7296";
    INTERNAL_IP4_NETMASK = 2, "RFC 7296";
    INTERNAL_IP4_DNS = 3, "RFC 7296";
    INTERNAL_IP4_NBNS = 4, "RFC 7296";
    INTERNAL_IP4_DHCP = 6, "RFC 7296";
    APPLICATION_VERSION = 7, "RFC 7296";
    INTERNAL_IP6_ADDRESS = 8, "RFC 7296";
    INTERNAL_IP6_DNS = 10, "RFC 7296";
    INTERNAL_IP6_DHCP = 12, "RFC 7296";
    INTERNAL_IP4_SUBNET = 13, "RFC 7296";
    SUPPORTED_ATTRIBUTES = 14, "RFC 7296";
    INTERNAL_IP6_SUBNET = 15, "RFC 7296";
    MIP6_HOME_PREFIX = 16, "RFC 5026";
    INTERNAL_IP6_LINK = 17, "RFC 5739";
    INTERNAL_IP6_PREFIX = 18, "RFC 5739";
    HOME_AGENT_ADDRESS = 19, "3GPP TS 24.302";
    P_CSCF_IP4_ADDRESS = 20, "RFC 7651";
    P_CSCF_IP6_ADDRESS = 21, "RFC 7651";
    INTERNAL_DNS_DOMAIN = 25, "RFC 8598";
    INTERNAL_DNSSEC_TA = 26, "RFC 8598";
    ENCDNS_IP4 = 27, "RFC 9464";
    ENCDNS_IP6 = 28, "RFC 9464";
    ENCDNS_DIGEST_INFO = 29, "RFC 9464";
}

registry! {
    /// The kind of an EAP message (RFC 3748 section 4).
    EapCode(u8);
    REQUEST = 1, "RFC 3748";
    RESPONSE = 2, "RFC 3748";
    SUCCESS = 3, "RFC 3748";
    FAILURE = 4, "RFC 3748";
}
