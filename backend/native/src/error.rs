//! The library's one error type: a sentence for the user.

use std::fmt;

/// What went wrong, as one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub String);

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// `fail!("no buffer {handle}")`: returns early with an [`Error`].
#[macro_export]
macro_rules! fail {
    ($($argument:tt)*) => {
        return Err($crate::error::Error(format!($($argument)*)))
    };
}

/// `ensure!(condition, "sentence {value}")`: [`fail!`] unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($argument:tt)*) => {
        if !$condition {
            $crate::fail!($($argument)*);
        }
    };
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self(message)
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Self(message.to_owned())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}
