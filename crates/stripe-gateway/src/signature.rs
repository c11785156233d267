//! The check of Stripe's `Stripe-Signature` header over the raw bytes of a body (ING-2).
//!
//! The header is `t=<unix seconds>,v1=<hex>[,v1=<hex>...][,v0=<hex>]`, and each `v1` is HMAC-SHA256 under the whole secret
//! string (`whsec_` included) of `<t as sent> "." <body>`. While a secret is being rolled, Stripe sends one `v1` per
//! active secret; a test mode delivery carries a fake `v0`. Source: docs.stripe.com/webhooks/signature and the official
//! libraries, which differ in the corners. This is what we do there:
//!
//! | header | here | why |
//! | --- | --- | --- |
//! | absent, or an empty value | [`Missing`](SignatureError::Missing) | |
//! | longer than 8 KiB, more than 16 `v1`, a byte that is not printable ASCII | [`Malformed`](SignatureError::Malformed) | bounded work for a forger |
//! | several `v1`, one of them right, anything beside it | accepted | rotation |
//! | a `v1` that is not 64 hex digits (`v1=bad_signature`, `v1=<sig>=`) | matches nothing | it is no MAC; of the official libraries Node and Python let the trailing `=` pass |
//! | only `v0`, or `V1=`, or `t=1, v1=..` (the name is then `" v1"`) | `Malformed`, there is no `v1` | only `v1` counts and nothing is trimmed |
//! | `v1` in upper-case hex | accepted | it is the same MAC (as Go and Rust) |
//! | stray commas, an element without `=`, unknown names | ignored | as Python, Node and Java |
//! | `t` absent, or more than once | `Malformed` | libraries disagree whether the first or the last counts |
//! | `t` not 1 to 12 plain digits (`+1`, ` 1`, `1abc`, `abc`, empty, negative) | `Malformed` | Node accepts `abc` signed over `NaN.` |
//! | `t=00N` signed as `00N` | accepted | the text is signed as it was sent |
//! | right MAC, `t` further than the tolerance from now, past or future | [`Stale`](SignatureError::Stale) | Stripe signs every retry afresh |
//! | wrong MAC, whatever `t` says | [`Mismatch`](SignatureError::Mismatch) | a forger learns nothing about our clock |
//! | empty body, a byte order mark, bytes that are not UTF-8 | judged as bytes | [`crate::envelope::peek`] refuses them |
//!
//! A tolerance of 0 accepts the current second only; it does not switch the check off as the libraries do.
//!
//! Why it is safe: the MAC is computed once per secret over exactly the bytes received, and compared by
//! [`ring::hmac::verify`] over both digests, which takes the same time wherever they differ. The one text of `t` both
//! enters the MAC and gives the age, so that a captured signature cannot be paired with a fresh time.

use std::fmt;

use ring::hmac;

/// The longest header that is looked at, in bytes.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;
/// The most `v1` elements that are looked at.
pub const MAX_SIGNATURES: usize = 16;
/// The most digits of `t`; they reach past the year 30 000 and always fit an `i64`.
const MAX_TIMESTAMP_DIGITS: usize = 12;
const MAC_BYTES: usize = 32;

/// The signing secrets of one webhook endpoint, prepared for use. `Debug` shows their number only.
#[derive(Clone)]
pub struct Secrets {
    keys: Vec<hmac::Key>,
}

/// Why a list of secrets is refused. Never carries a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// The list has no entry; HMAC under no secret would let nothing or everything pass.
    #[error("no webhook signing secret is given")]
    None,
    /// An entry is empty: anybody can sign under an empty key.
    #[error("webhook signing secret number {position} is empty")]
    Empty {
        /// Counted from 1.
        position: usize,
    },
    /// An entry has white space, which no secret of Stripe's has: it was pasted wrongly and would match nothing.
    #[error("webhook signing secret number {position} contains white space or a control character")]
    Whitespace {
        /// Counted from 1.
        position: usize,
    },
}

impl Secrets {
    /// Prepares one or several secrets, each the whole string that Stripe shows (`whsec_...`).
    ///
    /// # Errors
    /// When there is none, or one is empty or holds white space.
    pub fn new<I>(secrets: I) -> Result<Self, SecretsError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut keys = Vec::new();
        for (index, secret) in secrets.into_iter().enumerate() {
            let secret = secret.as_ref();
            let position = index.saturating_add(1);
            if secret.is_empty() {
                return Err(SecretsError::Empty { position });
            }
            if secret.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(SecretsError::Whitespace { position });
            }
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        }
        if keys.is_empty() {
            return Err(SecretsError::None);
        }
        Ok(Self { keys })
    }

    /// Prepares a comma-separated list, as the configuration has it during a rotation. Nothing is trimmed.
    ///
    /// # Errors
    /// As [`Secrets::new`].
    pub fn from_list(list: &str) -> Result<Self, SecretsError> {
        if list.is_empty() {
            return Err(SecretsError::None);
        }
        Self::new(list.split(','))
    }

    /// How many secrets are accepted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.keys.len()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} hidden)", self.keys.len())
    }
}

/// What a good signature proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// When Stripe signed this delivery, in unix seconds: the time of the delivery, not of the event.
    pub timestamp: i64,
}

/// Why a delivery is refused. Each kind answers 400 with its [`code`](SignatureError::code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no header, or it is empty.
    #[error("the Stripe-Signature header is missing")]
    Missing,
    /// The header is not of Stripe's form; the body was not looked at.
    #[error("the Stripe-Signature header is malformed: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: MalformedReason,
    },
    /// No `v1` is the MAC of this body under any of our secrets.
    #[error("no v1 signature in the Stripe-Signature header matches the body under a secret of this endpoint")]
    Mismatch,
    /// The MAC is right, but it was made too long ago, or too far in the future.
    #[error(
        "the signed timestamp is {age_seconds} seconds old and the tolerance is {tolerance_seconds} seconds either way"
    )]
    Stale {
        /// Our time minus the signed time; negative when the signed time lies ahead.
        age_seconds: i64,
        /// What was allowed.
        tolerance_seconds: u64,
    },
}

/// What is wrong with the form of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReason {
    /// More than [`MAX_HEADER_BYTES`].
    #[error("it is longer than {MAX_HEADER_BYTES} bytes")]
    TooLong,
    /// A byte outside 0x20 to 0x7e.
    #[error("it has a byte that is not printable ASCII")]
    NotAscii,
    /// No element is named `t`.
    #[error("it has no timestamp (t)")]
    NoTimestamp,
    /// Several elements are named `t`.
    #[error("it has more than one timestamp (t)")]
    SeveralTimestamps,
    /// `t` is not 1 to 12 ASCII digits.
    #[error("its timestamp (t) is not 1 to {MAX_TIMESTAMP_DIGITS} digits")]
    BadTimestamp,
    /// No element is named `v1`.
    #[error("it has no v1 signature")]
    NoSignature,
    /// More than [`MAX_SIGNATURES`] elements are named `v1`.
    #[error("it has more than {MAX_SIGNATURES} v1 signatures")]
    TooManySignatures,
}

impl SignatureError {
    /// The stable code of the problem answer.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::Malformed { .. } => "signature_malformed",
            Self::Mismatch => "signature_mismatch",
            Self::Stale { .. } => "timestamp_out_of_tolerance",
        }
    }
}

impl From<MalformedReason> for SignatureError {
    fn from(reason: MalformedReason) -> Self {
        Self::Malformed { reason }
    }
}

/// Checks the header of a delivery against its raw body.
///
/// # Errors
/// See the table in the module's documentation. The age is judged only after a MAC has matched.
pub fn verify(
    header: Option<&[u8]>,
    body: &[u8],
    secrets: &Secrets,
    now_unix: i64,
    tolerance_seconds: u64,
) -> Result<Verified, SignatureError> {
    let header = match header {
        None | Some([]) => return Err(SignatureError::Missing),
        Some(header) => Header::parse(header)?,
    };
    let matches = secrets.keys.iter().any(|key| {
        let expected = mac(key, header.timestamp_text.as_bytes(), body);
        let expected_digest = hmac::sign(key, expected.as_ref());
        header
            .signatures()
            .iter()
            .any(|candidate| hmac::verify(key, candidate, expected_digest.as_ref()).is_ok())
    });
    if !matches {
        return Err(SignatureError::Mismatch);
    }
    let age_seconds = now_unix.saturating_sub(header.timestamp);
    if age_seconds.unsigned_abs() > tolerance_seconds {
        return Err(SignatureError::Stale {
            age_seconds,
            tolerance_seconds,
        });
    }
    Ok(Verified {
        timestamp: header.timestamp,
    })
}

/// Checks the header's form alone, before a body is read for it: what fails here fails in [`verify`] with the same error.
///
/// # Errors
/// [`SignatureError::Missing`] and [`SignatureError::Malformed`].
pub fn check_form(header: Option<&[u8]>) -> Result<(), SignatureError> {
    match header {
        None | Some([]) => Err(SignatureError::Missing),
        Some(header) => Ok(Header::parse(header).map(drop)?),
    }
}

/// Makes the header that Stripe would send, for the simulator, load generators and tests.
#[must_use]
pub fn sign(secret: &str, body: &[u8], timestamp: i64) -> String {
    let timestamp = timestamp.to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut header = format!("t={timestamp},v1=");
    for byte in mac(&key, timestamp.as_bytes(), body).as_ref() {
        for nibble in [byte >> 4, byte & 0xf] {
            header.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    header
}

fn mac(key: &hmac::Key, timestamp: &[u8], body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(timestamp);
    context.update(b".");
    context.update(body);
    context.sign()
}

/// A header of the right form. The signatures are those `v1` that can be a MAC at all.
struct Header<'a> {
    timestamp_text: &'a str,
    timestamp: i64,
    candidates: [[u8; MAC_BYTES]; MAX_SIGNATURES],
    count: usize,
}

impl<'a> Header<'a> {
    fn parse(raw: &'a [u8]) -> Result<Self, MalformedReason> {
        if raw.len() > MAX_HEADER_BYTES {
            return Err(MalformedReason::TooLong);
        }
        let text = match std::str::from_utf8(raw) {
            Ok(text) if raw.iter().all(|byte| (0x20..=0x7e).contains(byte)) => text,
            _ => return Err(MalformedReason::NotAscii),
        };
        let mut timestamp_text = None;
        let mut candidates = [[0; MAC_BYTES]; MAX_SIGNATURES];
        let mut count = 0_usize;
        let mut named_v1 = 0_usize;
        for (name, value) in text.split(',').filter_map(|element| element.split_once('=')) {
            match name {
                "t" if timestamp_text.is_some() => return Err(MalformedReason::SeveralTimestamps),
                "t" => timestamp_text = Some(value),
                "v1" => {
                    named_v1 = named_v1.saturating_add(1);
                    if named_v1 > MAX_SIGNATURES {
                        return Err(MalformedReason::TooManySignatures);
                    }
                    if let (Some(bytes), Some(slot)) = (decode_mac(value), candidates.get_mut(count)) {
                        *slot = bytes;
                        count = count.saturating_add(1);
                    }
                }
                _ => {}
            }
        }
        let timestamp_text = timestamp_text.ok_or(MalformedReason::NoTimestamp)?;
        let timestamp = parse_timestamp(timestamp_text).ok_or(MalformedReason::BadTimestamp)?;
        if named_v1 == 0 {
            return Err(MalformedReason::NoSignature);
        }
        Ok(Self {
            timestamp_text,
            timestamp,
            candidates,
            count,
        })
    }

    fn signatures(&self) -> &[[u8; MAC_BYTES]] {
        self.candidates.get(..self.count).unwrap_or_default()
    }
}

fn parse_timestamp(text: &str) -> Option<i64> {
    let plain = (1..=MAX_TIMESTAMP_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn decode_mac(hex: &str) -> Option<[u8; MAC_BYTES]> {
    let digits = hex.as_bytes();
    if digits.len() != MAC_BYTES * 2 {
        return None;
    }
    let mut bytes = [0; MAC_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = (hex_digit(high)? << 4) | hex_digit(low)?;
    }
    Some(bytes)
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
