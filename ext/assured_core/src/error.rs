//! Errors of the engine, sorted by what can be done about them.

use std::fmt;

/// What went wrong while doing something with Redis.
#[derive(Clone, Debug)]
pub struct Error {
    /// What was being done, such as "track".
    pub doing: &'static str,
    /// What to do about it.
    pub remedy: Remedy,
    /// The server's or the operating system's own words.
    pub message: String,
}

/// What can be done about an error. The table behind it was tested against redis 1.8.1, whose own
/// `retry_method` is made for clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The connection is gone or cannot be trusted: open another one. Whether the commands were
    /// executed is unknown, so only idempotent ones may be sent again.
    Reconnect,
    /// The server refused for now (loading, out of memory, read-only): wait and send again.
    Wait,
    /// The server does not know a script: load it and send again.
    LoadScripts,
    /// The instance id belongs to another process now: beat, which claims another one, then try again.
    Reclaim,
    /// Nothing gets better by itself (wrong password, missing permission): say so, try again slowly.
    TellUser,
}

/// Result of something done with Redis.
pub type Result<T> = std::result::Result<T, Error>;

/// What opens a connection.
pub const CONNECTING: &str = "connect";

/// What a server that has no connection left says to a new one.
const CROWDED: &str = "max number of clients";

/// What a server that wants a password says to a command with many arguments.
const MANY_ARGUMENTS: &str = "unauthenticated";

/// What a server says where a script does what its user may not do by himself: up to 7.0, and since 7.2.
const NOT_IN_A_SCRIPT: [&str; 2] = ["The user executing the script can't", "ACL failure in script"];

fn forbidden_in_a_script(message: &str) -> bool {
    NOT_IN_A_SCRIPT.iter().any(|words| message.contains(words))
}

impl Error {
    /// An error of the connection itself.
    pub fn io(doing: &'static str, error: &redis::RedisError) -> Self {
        let remedy = match error.kind() {
            redis::ErrorKind::AuthenticationFailed | redis::ErrorKind::InvalidClientConfig => {
                Remedy::TellUser
            }
            _ => match error.code() {
                Some(code) => Self::remedy_for(code),
                None => Remedy::Reconnect,
            },
        };
        Self { doing, remedy, message: error.to_string() }
    }

    /// An error that the server replied with.
    pub fn server(doing: &'static str, error: &redis::ServerError) -> Self {
        let message = match error.details() {
            Some(details) => format!("{} {details}", error.code()),
            None => error.code().to_owned(),
        };
        let message = without_arguments(message);
        let remedy = if message.contains(MANY_ARGUMENTS) || forbidden_in_a_script(&message) {
            Remedy::TellUser
        } else if message.contains("-READONLY") || message.contains(CROWDED) {
            // A script met it, and Redis 6 reports that as an error of the script.
            Remedy::Reconnect
        } else {
            Self::remedy_for(error.code())
        };
        Self { doing, remedy, message }
    }

    /// Credentials that cannot even be sent.
    pub fn no_login(message: &str) -> Self {
        Self { doing: CONNECTING, remedy: Remedy::TellUser, message: format!("NOAUTH {message}") }
    }

    /// Whether the server does not know who we are: other credentials may help.
    pub fn wants_login(&self) -> bool {
        ["NOAUTH", "WRONGPASS"].iter().any(|code| self.message.starts_with(code))
            || self.message.contains(MANY_ARGUMENTS)
    }

    /// Whether the server has no connection left: asking often is what it needs least.
    pub fn is_crowded(&self) -> bool {
        self.message.contains(CROWDED)
    }

    /// What the server forbids this user for now.
    pub fn forbidden(message: String) -> Self {
        Self { doing: "give back", remedy: Remedy::TellUser, message: format!("NOPERM {message}") }
    }

    /// Whether the server forbids this user what was asked for, which may have been a single queue.
    pub fn is_forbidden(&self) -> bool {
        self.message.starts_with("NOPERM") || forbidden_in_a_script(&self.message)
    }

    /// A reply of a shape that no Redis sends to this command.
    pub fn reply(doing: &'static str, message: impl fmt::Display) -> Self {
        Self { doing, remedy: Remedy::Reconnect, message: format!("unexpected reply: {message}") }
    }

    fn remedy_for(code: &str) -> Remedy {
        match code {
            "NOSCRIPT" => Remedy::LoadScripts,
            "TAKEN" => Remedy::Reclaim,
            // The master may have moved: a new connection asks for it again.
            "READONLY" | "MASTERDOWN" | "UNBLOCKED" => Remedy::Reconnect,
            "NOAUTH" | "WRONGPASS" | "NOPERM" | "EXECABORT" => Remedy::TellUser,
            _ => Remedy::Wait,
        }
    }
}

/// A server repeats what it does not understand, and that may be a password or a payload.
fn without_arguments(mut message: String) -> String {
    if let Some(at) = message.find(", with args beginning with") {
        message.truncate(at);
    }
    message
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.message)
    }
}

impl std::error::Error for Error {}
