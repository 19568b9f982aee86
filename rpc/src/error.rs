//! What a method answers when it does not do what it was asked.

use serde::Serialize;

/// An error as it goes to the client: a code of JSON-RPC's or a negative errno, and a sentence.
///
/// ```
/// use rpc::Error;
///
/// let why = Error::params("Invalid parameters: size: 0");
/// assert_eq!(why.to_string(), "Invalid parameters: size: 0 (code -32602)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct Error {
    code: i32,
    message: String,
}

impl Error {
    /// The code of a method that may not be called in this phase.
    pub const STATE: i32 = -1;
    /// The code of a request that is none.
    pub const REQUEST: i32 = -32600;
    /// The code of a method that is not there.
    pub const METHOD: i32 = -32601;
    /// The code of parameters that are wrong.
    pub const PARAMS: i32 = -32602;
    /// The code of whatever else went wrong.
    pub const INTERNAL: i32 = -32603;

    /// Any code: a negative errno where the system or a device said no.
    ///
    /// ```
    /// use rpc::Error;
    ///
    /// let busy = Error::new(-16, "the device is open");
    /// assert_eq!((busy.code(), busy.message()), (-16, "the device is open"));
    /// ```
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The request is none.
    pub fn request(message: impl Into<String>) -> Self {
        Self::new(Self::REQUEST, message)
    }

    /// The parameters are wrong.
    ///
    /// ```
    /// use rpc::Error;
    ///
    /// assert_eq!(Error::params("size: 0").code(), -32602);
    /// ```
    pub fn params(message: impl Into<String>) -> Self {
        Self::new(Self::PARAMS, message)
    }

    /// Something else went wrong.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Self::INTERNAL, message)
    }

    /// Its code.
    pub fn code(&self) -> i32 {
        self.code
    }

    /// Its sentence.
    pub fn message(&self) -> &str {
        &self.message
    }
}
