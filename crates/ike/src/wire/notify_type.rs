//! What notifies mean: the error and status types of RFC 7296, of session
//! resumption and of their neighbours.

use super::registry::registry;

registry! {
    /// The type of a notify (RFC 7296 section 3.10.1): errors below 16384,
    /// status from there on.
    NotifyType(u16);
    UNSUPPORTED_CRITICAL_PAYLOAD = 1, "RFC 7296 section 2.5; data: the payload type, one octet";
    INVALID_IKE_SPI = 4, "RFC 7296 section 2.21";
    INVALID_MAJOR_VERSION = 5, "RFC 7296 section 2.5; data: our version, one octet";
    INVALID_SYNTAX = 7, "RFC 7296";
    INVALID_MESSAGE_ID = 9, "RFC 7296 section 2.3";
    INVALID_SPI = 11, "RFC 7296 section 1.5";
    NO_PROPOSAL_CHOSEN = 14, "RFC 7296 section 2.7";
    INVALID_KE_PAYLOAD = 17, "RFC 7296 section 1.2; data: the group wanted, two octets";
    AUTHENTICATION_FAILED = 24, "RFC 7296 section 2.21.2";
    SINGLE_PAIR_REQUIRED = 34, "RFC 7296 section 2.9";
    NO_ADDITIONAL_SAS = 35, "RFC 7296 section 1.3";
    INTERNAL_ADDRESS_FAILURE = 36, "RFC 7296 section 3.15.4";
    FAILED_CP_REQUIRED = 37, "RFC 7296 section 2.19";
    TS_UNACCEPTABLE = 38, "RFC 7296 section 2.9";
    INVALID_SELECTORS = 39, "RFC 7296";
    UNACCEPTABLE_ADDRESSES = 40, "RFC 4555";
    UNEXPECTED_NAT_DETECTED = 41, "RFC 4555";
    USE_ASSIGNED_HOA = 42, "RFC 5026";
    TEMPORARY_FAILURE = 43, "RFC 7296 section 2.25";
    CHILD_SA_NOT_FOUND = 44, "RFC 7296 section 2.25";
    STATE_NOT_FOUND = 47, "RFC 9370";
    TS_MAX_QUEUE = 48, "RFC 9611";

    INITIAL_CONTACT = 16384, "RFC 7296 section 2.4";
    SET_WINDOW_SIZE = 16385, "RFC 7296 section 2.3; data: four octets";
    ADDITIONAL_TS_POSSIBLE = 16386, "RFC 7296 section 2.9";
    IPCOMP_SUPPORTED = 16387, "RFC 7296 section 2.22";
    NAT_DETECTION_SOURCE_IP = 16388, "RFC 7296 section 2.23; data: SHA-1, 20 octets";
    NAT_DETECTION_DESTINATION_IP = 16389, "RFC 7296 section 2.23; data: SHA-1, 20 octets";
    COOKIE = 16390, "RFC 7296 section 2.6; data: 1 to 64 octets";
    USE_TRANSPORT_MODE = 16391, "RFC 7296 section 1.3.1";
    HTTP_CERT_LOOKUP_SUPPORTED = 16392, "RFC 7296 section 3.6";
    REKEY_SA = 16393, "RFC 7296 section 1.3.3; SPI: the child being rekeyed";
    ESP_TFC_PADDING_NOT_SUPPORTED = 16394, "RFC 7296 section 1.3.1";
    NON_FIRST_FRAGMENTS_ALSO = 16395, "RFC 7296 section 1.3.1";
    MOBIKE_SUPPORTED = 16396, "RFC 4555";
    ADDITIONAL_IP4_ADDRESS = 16397, "RFC 4555; data: an address";
    ADDITIONAL_IP6_ADDRESS = 16398, "RFC 4555; data: an address";
    NO_ADDITIONAL_ADDRESSES = 16399, "RFC 4555";
    UPDATE_SA_ADDRESSES = 16400, "RFC 4555";
    COOKIE2 = 16401, "RFC 4555; data: 8 to 64 octets";
    NO_NATS_ALLOWED = 16402, "RFC 4555";
    AUTH_LIFETIME = 16403, "RFC 4478; data: seconds, four octets";
    MULTIPLE_AUTH_SUPPORTED = 16404, "RFC 4739";
    ANOTHER_AUTH_FOLLOWS = 16405, "RFC 4739";
    REDIRECT_SUPPORTED = 16406, "RFC 5685";
    REDIRECT = 16407, "RFC 5685; data: a gateway identity, maybe a nonce";
    REDIRECTED_FROM = 16408, "RFC 5685; data: a gateway identity";
    TICKET_LT_OPAQUE = 16409, "RFC 5723 section 7.1; data: seconds, four octets, then the ticket";
    TICKET_REQUEST = 16410, "RFC 5723 section 7";
    TICKET_ACK = 16411, "RFC 5723 section 7";
    TICKET_NACK = 16412, "RFC 5723 section 7";
    TICKET_OPAQUE = 16413, "RFC 5723 section 7.2; data: the ticket";
    LINK_ID = 16414, "RFC 5739";
    USE_WESP_MODE = 16415, "RFC 5840";
    ROHC_SUPPORTED = 16416, "RFC 5857";
    EAP_ONLY_AUTHENTICATION = 16417, "RFC 5998";
    CHILDLESS_IKEV2_SUPPORTED = 16418, "RFC 6023";
    QUICK_CRASH_DETECTION = 16419, "RFC 6290; data: the token";
    IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420, "RFC 6311";
    IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED = 16421, "RFC 6311";
    IKEV2_MESSAGE_ID_SYNC = 16422, "RFC 6311";
    IPSEC_REPLAY_COUNTER_SYNC = 16423, "RFC 6311";
    SECURE_PASSWORD_METHODS = 16424, "RFC 6467";
    PSK_PERSIST = 16425, "RFC 6631";
    PSK_CONFIRM = 16426, "RFC 6631";
    ERX_SUPPORTED = 16427, "RFC 6867";
    IFOM_CAPABILITY = 16428, "3GPP TS 24.303";
    IKEV2_FRAGMENTATION_SUPPORTED = 16430, "RFC 7383";
    SIGNATURE_HASH_ALGORITHMS = 16431, "RFC 7427; data: hash algorithms, two octets each";
    CLONE_IKE_SA_SUPPORTED = 16432, "RFC 7791";
    CLONE_IKE_SA = 16433, "RFC 7791";
    PUZZLE = 16434, "RFC 8019";
    USE_PPK = 16435, "RFC 8784";
    PPK_IDENTITY = 16436, "RFC 8784; data: the PPK_ID";
    NO_PPK_AUTH = 16437, "RFC 8784; data: an AUTH value";
    INTERMEDIATE_EXCHANGE_SUPPORTED = 16438, "RFC 9242";
    IP4_ALLOWED = 16439, "RFC 8983";
    IP6_ALLOWED = 16440, "RFC 8983";
    ADDITIONAL_KEY_EXCHANGE = 16441, "RFC 9370; data: a blob that links exchanges";
    USE_AGGFRAG = 16442, "RFC 9347";
    SUPPORTED_AUTH_METHODS = 16443, "RFC 9593";
    SA_RESOURCE_INFO = 16444, "RFC 9611";
    USE_PPK_INT = 16445, "RFC 9867";
    PPK_IDENTITY_KEY = 16446, "RFC 9867";
}

impl NotifyType {
    /// The first of the status types (RFC 7296 section 3.10.1).
    const FIRST_STATUS: u16 = 16384;
    /// The first of the status types for private use, to be understood only
    /// after a vendor ID that gives them a meaning.
    pub const FIRST_PRIVATE_STATUS: u16 = 40960;

    /// Whether this reports an error. An unknown error type in a response
    /// means that the request has failed entirely; every other unknown type is
    /// ignored (RFC 7296 section 3.10.1).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < Self::FIRST_STATUS
    }

    /// Whether the meaning of the type hangs on a vendor ID.
    #[must_use]
    pub const fn is_private(self) -> bool {
        matches!(self.0, 8192..=16383 | Self::FIRST_PRIVATE_STATUS..)
    }
}
