//! The Lua scripts, embedded at compile time. Each file's header names its KEYS, ARGV and reply.

use std::sync::LazyLock;

use redis::{Arg, Cmd, Script};

/// A script that Redis runs as one atomic step.
pub struct AtomicStep {
    script: LazyLock<Script>,
    source: &'static str,
}

macro_rules! scripts {
    ($($name:ident = $($file:literal)&+;)+) => {
        $(
            /// The script of the same name in `lua/`.
            pub static $name: AtomicStep = AtomicStep {
                script: LazyLock::new(|| Script::new($name.source)),
                source: concat!($(include_str!(concat!("lua/", $file, ".lua"))),+),
            };
        )+
        static ALL: &[&AtomicStep] = &[$(&$name),+];
    };
}

scripts! {
    ADOPT = "adopt";
    ANNOUNCE = "announce";
    BEAT = "owner" & "beats" & "beat";
    CLAIM = "beats" & "claim";
    DELETE_IF = "delete_if";
    DUE = "owner" & "record" & "due";
    EXPIRE = "beats" & "expire";
    FETCH = "owner" & "drop" & "record" & "fetch";
    FORGET = "forget";
    KILL = "owner" & "beats" & "leave_verdict" & "kill";
    LOCK_RENEW = "lock_renew";
    LOCK_TAKE_OVER = "lock_take_over";
    PAYLOADS = "payloads";
    RELEASE = "owner" & "drop" & "release";
    RELEASE_IF_UNCHANGED = "owner" & "release_if_unchanged";
    REQUEUE = "owner" & "beats" & "leave_verdict" & "requeue";
    RETIRE = "owner" & "beats" & "retire";
    RETRY = "owner" & "retry";
    SETTLE = "owner" & "leave_verdict" & "settle";
    TRACK = "owner" & "drop" & "track";
}

/// All of them, those that the commands run last: a server reads so much at once, and may serve others in between.
pub fn all_before(cmds: &[Cmd]) -> impl Iterator<Item = &'static AtomicStep> {
    let runs = |script: &AtomicStep, cmd: &Cmd| {
        cmd.args_iter().nth(1).is_some_and(|arg| arg == Arg::Simple(script.script.get_hash().as_bytes()))
    };
    let (used, others): (Vec<_>, Vec<_>) =
        ALL.iter().copied().partition(|script| cmds.iter().any(|cmd| runs(script, cmd)));
    others.into_iter().chain(used)
}

impl AtomicStep {
    /// The command that runs this script.
    pub fn call<K, A>(&self, keys: &[K], args: &[A]) -> Cmd
    where
        K: redis::ToRedisArgs,
        A: redis::ToRedisArgs,
    {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(self.script.get_hash()).arg(keys.len());
        for key in keys {
            cmd.arg(key);
        }
        for arg in args {
            cmd.arg(arg);
        }
        cmd
    }

    /// The command that makes the server know this script.
    pub fn load(&self) -> Cmd {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(self.source);
        cmd
    }
}
