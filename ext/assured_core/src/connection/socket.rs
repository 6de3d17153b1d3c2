//! Bytes to and from a server, in limited time.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, SockAddr, SockRef, TcpKeepalive, Type};

use super::inherited::NotInherited;
use super::tls;
use crate::settings::Tls;
use crate::threads;

/// A stream, with or without TLS.
pub(super) enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

/// A connection that is idle for longer is forgotten by some routers, which nobody would notice before the next job.
const IDLE: Duration = Duration::from_secs(60);

impl Stream {
    pub(super) fn tcp(host: &str, port: u16, tls: Option<&Tls>, deadline: Instant) -> io::Result<Self> {
        // First, so that a certificate that cannot be read is named before a server that cannot be reached.
        let config = tls.map(tls::config).transpose()?;
        let tcp = connect(host, port, deadline)?;
        tcp.set_nodelay(true)?;
        // A courtesy, which a kernel may refuse.
        let _ =
            SockRef::from(&tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(IDLE).with_interval(IDLE));
        let mut socket = Socket::new(Kind::Tcp(tcp), deadline);
        let Some(config) = config else { return Ok(Self::Plain(socket)) };
        let mut session = ClientConnection::new(config, tls::server_name(host)?).map_err(tls::refusal)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    pub(super) fn unix(path: &str, deadline: Instant) -> io::Result<Self> {
        let unix = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A server that hangs does not take it from its backlog, which may be full.
        unix.set_write_timeout(Some(left(deadline)?))?;
        unix.connect(&SockAddr::unix(path)?)?;
        let kind = Kind::Unix(UnixStream::from(OwnedFd::from(unix)));
        Ok(Self::Plain(Socket::new(kind, deadline)))
    }

    /// From now on each reply has its own limit.
    pub(super) fn settle(&mut self, read: Duration, write: Duration) -> io::Result<()> {
        let socket = self.socket();
        socket.deadline = None;
        socket.kind.set_timeouts(read, write)
    }

    /// Until when all must be through that comes now, whatever its steps.
    pub(super) fn extend(&mut self, deadline: Instant) {
        self.socket().deadline = Some(deadline);
    }

    /// Whether the other end has neither closed the connection nor said anything. A look that sends nothing.
    pub(super) fn is_quiet(&mut self) -> bool {
        let socket = match &self.socket().kind {
            Kind::Tcp(tcp) => SockRef::from(tcp),
            Kind::Unix(unix) => SockRef::from(unix),
        };
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        let look = socket.recv_with_flags(&mut [MaybeUninit::uninit()], flags);
        look.is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
        })
    }

    fn socket(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A socket whose handshake has one deadline for all its steps together, as has each batch of a heartbeat: one that
/// waits for each step of a mute server is late.
pub(super) struct Socket {
    /// Before the descriptor itself, which is closed after that.
    _not_inherited: NotInherited,
    kind: Kind,
    deadline: Option<Instant>,
}

enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Kind {
    fn set_timeouts(&self, read: Duration, write: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.set_read_timeout(Some(read)).and(tcp.set_write_timeout(Some(write))),
            Self::Unix(unix) => unix.set_read_timeout(Some(read)).and(unix.set_write_timeout(Some(write))),
        }
    }
}

impl Socket {
    fn new(kind: Kind, deadline: Instant) -> Self {
        let descriptor = match &kind {
            Kind::Tcp(tcp) => tcp.as_raw_fd(),
            Kind::Unix(unix) => unix.as_raw_fd(),
        };
        Self { _not_inherited: NotInherited::new(descriptor), kind, deadline: Some(deadline) }
    }

    fn in_time(&mut self, action: impl FnOnce(&mut Kind) -> io::Result<usize>) -> io::Result<usize> {
        if let Some(deadline) = self.deadline {
            let left = left(deadline)?;
            self.kind.set_timeouts(left, left)?;
        }
        action(&mut self.kind).map_err(|error| match error.kind() {
            // What the operating system calls a timeout.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => timed_out(),
            _ => error,
        })
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.in_time(|kind| match kind {
            Kind::Tcp(tcp) => tcp.read(buffer),
            Kind::Unix(unix) => unix.read(buffer),
        })
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.in_time(|kind| match kind {
            Kind::Tcp(tcp) => tcp.write(bytes),
            Kind::Unix(unix) => unix.write(bytes),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tries all addresses of a host, each in its share of the time that is left.
fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut addresses = resolve(host, port, deadline)?.into_iter().peekable();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    while let Some(address) = addresses.next() {
        let left = left(deadline)?;
        let share = if addresses.peek().is_some() { left / 2 } else { left };
        match TcpStream::connect_timeout(&address, share) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// How many threads may look hosts up at a time. Where name servers are mute, each ends only when the resolver gives up.
const MOST_LOOKUPS: u32 = 16;

/// Id of the process, and how many such threads it has: a forked child has none of its parent's.
static LOOKUPS: AtomicU64 = AtomicU64::new(0);

fn count_lookups(change: impl Fn(u32) -> Option<u32>) -> bool {
    let process = std::process::id();
    let update = |both: u64| {
        let count = if (both >> 32) as u32 == process { both as u32 } else { 0 };
        change(count).map(|count| u64::from(process) << 32 | u64::from(count))
    };
    LOOKUPS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, update).is_ok()
}

fn end_lookup() {
    count_lookups(|count| Some(count.saturating_sub(1)));
}

/// Looks a host up, on a thread of its own: the operating system's resolver knows no deadline.
fn resolve(host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    if !count_lookups(|count| Some(count + 1).filter(|count| *count <= MOST_LOOKUPS)) {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "name servers have not answered for long"));
    }
    let name = host.to_owned();
    let (answer, answered) = mpsc::sync_channel(1);
    let started = threads::start("saj-resolve", move || {
        let addresses = (name.as_str(), port).to_socket_addrs().map(Vec::from_iter);
        end_lookup();
        let _ = answer.send(addresses);
    });
    if started.is_err() {
        end_lookup();
        // Late is better than never.
        return (host, port).to_socket_addrs().map(Vec::from_iter);
    }
    answered.recv_timeout(left(deadline)?).map_err(|_| {
        io::Error::new(io::ErrorKind::TimedOut, "the name of the host could not be looked up in time")
    })?
}

fn left(deadline: Instant) -> io::Result<Duration> {
    Some(deadline.saturating_duration_since(Instant::now()))
        .filter(|left| !left.is_zero())
        .ok_or_else(timed_out)
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the server did not answer in time")
}
