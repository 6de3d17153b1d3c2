//! Asks sentinels which server is the master.

use redis::Value;

use super::{Connection, Login, Patience};
use crate::error::{CONNECTING, Error, Remedy, Result};
use crate::settings::{Address, Sentinel, Sentinels};

/// Host and port of the master. The sentinel that knew is the first to be asked the next time, so that one that
/// is gone does not cost its timeout at every connection. Where time is limited, each has its share of it, and so has
/// the server.
pub(super) fn master(sentinels: &mut Sentinels, patience: Patience) -> Result<(String, u16)> {
    let mut failure = None;
    let count = sentinels.servers.len();
    for at in 0..count {
        match ask(&sentinels.servers[at], &sentinels.master, patience.share(count - at + 1)) {
            Ok(place) => {
                sentinels.servers[..=at].rotate_right(1);
                return Ok(place);
            }
            Err(error) => {
                let server = &sentinels.servers[at];
                let place = super::describe(&Address::Tcp(server.host.clone(), server.port));
                let message = format!("{} (sentinel {place} of {})", error.message, sentinels.master);
                // The last one's words; but a rejected password is what the user has to know.
                if failure.as_ref().is_none_or(|error: &Error| error.remedy != Remedy::TellUser) {
                    failure = Some(Error { message, ..error });
                }
            }
        }
    }
    Err(failure.unwrap_or_else(|| Error::reply(CONNECTING, "no sentinels are named")))
}

fn ask(sentinel: &Sentinel, master: &str, patience: Patience) -> Result<(String, u16)> {
    let place = Address::Tcp(sentinel.host.clone(), sentinel.port);
    let mut connection = Connection::connect(&place, sentinel.tls.as_ref(), patience)?;
    let login = Login {
        username: sentinel.username.as_deref(),
        password: sentinel.password.as_ref(),
        or_default_user: false,
    };
    connection.log_in(login, patience)?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("get-master-addr-by-name").arg(master);
    let reply = connection.ask(question)?;
    redis::from_redis_value::<Option<(String, u16)>>(reply)
        .map_err(|error| Error::reply(CONNECTING, error))?
        .ok_or_else(|| Error {
            doing: CONNECTING,
            remedy: Remedy::Reconnect,
            message: "it knows no master of that name".to_owned(),
        })
}

/// First word of the reply to ROLE, if the server answered that.
pub(super) fn role(reply: &Value) -> Option<String> {
    match reply {
        Value::Array(parts) => parts.first().cloned().and_then(|role| redis::from_redis_value(role).ok()),
        _ => None,
    }
}
