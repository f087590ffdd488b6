//! The admin listener: metrics and health for programs, a page for people, on a thread of its own.
//!
//! Not for the public: it is on loopback unless the operator says otherwise, plain HTTP there and HTTPS elsewhere.
//! Never touches a shard, and yields to it (nice). It knows no rule of who may do what: an admin's acts go to the
//! kernel by a control connection of the admin's own (`control`).
//! In: HTTP/1.1 requests. Bounds: `CONNECTIONS_MAX` at a time, beyond which the next waits in the system's backlog;
//! each lives for one request and `CONNECTION_MAX` at most, with `REQUEST_BYTES_MAX` of a request's head.
//!
//! Layout: `routes` (what is asked and answered), `reply` (answers and their headers), `origin` (who may ask),
//! `sessions` (who is logged in), `control` and `acts` (what they do), `overviews` and `state` (what they see),
//! `log_lines`, `condition` (health), `current` (what a reload changes), `page` (the files).

mod acts;
mod condition;
mod control;
mod current;
mod log_lines;
mod origin;
mod overviews;
mod page;
mod reply;
mod routes;
mod sessions;
mod state;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use echomesh_proto::control::Role;
use echomesh_shard::rights::role_name;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio_rustls::TlsAcceptor;

pub use condition::Condition;
pub use current::Current;
pub use log_lines::{LogLines, LogLinesLayer};
pub use overviews::{Overviews, Snapshot};

use crate::config::AdminAddress;
use crate::ending::Phase;
use crate::metrics::Board;
use crate::start_error::StartError;
use control::{Control, ControlPort};
use origin::Names;
use sessions::{Admin, Sessions};
use state::{Server, State, Wish, You, digits};

/// Connections at a time: browsers open six each, and some in reserve.
const CONNECTIONS_MAX: usize = 32;

/// From accept to the last byte of the answer.
const CONNECTION_MAX: Duration = Duration::from_secs(10);

/// Most of a request's head: hyper's least.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Pause after a failed accept: out of file descriptors, say.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// Lower priority than the shards' and the store's threads: `nice` steps.
const NICE: i32 = 10;

/// Who looks first waits for the shards' first snapshots, which come with their next tick.
const FIRST_LOOKS: u32 = 10;
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// A socket that waits.
pub struct Listener {
    socket: TcpListener,
    /// Where, with the port that was taken.
    pub address: SocketAddr,
    /// HTTPS, for it can be reached from elsewhere.
    pub is_tls: bool,
}

impl Listener {
    /// Where the page is.
    pub fn url(&self) -> String {
        format!("{}://{}/", if self.is_tls { "https" } else { "http" }, self.address)
    }
}

/// What the thread is given.
pub struct AdminSetup {
    /// Where it listens.
    pub listener: Listener,
    /// A name of the page besides the address.
    pub host: Option<String>,
    /// Where the server's own control port is.
    pub control: SocketAddr,
    /// The server's certificate and name, as they hold now.
    pub current: Arc<Current>,
    /// The figures.
    pub board: Arc<Board>,
    /// Health.
    pub condition: Arc<Condition>,
    /// What the shards tell.
    pub overviews: Arc<Overviews>,
    /// The log.
    pub lines: Arc<LogLines>,
}

/// What all requests are answered from.
struct Desk {
    names: Names,
    is_tls: bool,
    current: Arc<Current>,
    port: ControlPort,
    board: Arc<Board>,
    condition: Arc<Condition>,
    overviews: Arc<Overviews>,
    lines: Arc<LogLines>,
    sessions: Mutex<Sessions<Control>>,
    /// The newest of each shard.
    snapshots: Mutex<Vec<Option<Box<Snapshot>>>>,
}

/// The running thread.
pub struct AdminThread {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

/// Takes the address. One that nobody asked for may be taken: then there is no page, and the log says so.
///
/// # Errors
/// An address that was asked for is taken already, or not of this machine.
pub fn bind(address: AdminAddress) -> Result<Option<Listener>, StartError> {
    let (wanted, is_given) = match address {
        AdminAddress::Off => return Ok(None),
        AdminAddress::Default(wanted) => (wanted, false),
        AdminAddress::Given(wanted) => (wanted, true),
    };
    let bound = TcpListener::bind(wanted).and_then(|socket| {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let is_tls = !address.ip().to_canonical().is_loopback();
        Ok(Listener { socket, address, is_tls })
    });
    match bound {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if is_given => Err(StartError::Machine(format!(
            "cannot serve the admin page on {wanted}: {error}. Choose a free port of an address of this machine with \
             --admin"
        ))),
        Err(error) => {
            tracing::warn!(
                %error,
                "no admin page and no metrics: {wanted} cannot be had; choose another address with --admin IP:PORT, or \
                 --admin off"
            );
            Ok(None)
        }
    }
}

/// Starts to answer.
///
/// # Errors
/// The system gives no thread or no event queue.
pub fn spawn(setup: AdminSetup) -> io::Result<AdminThread> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let Listener { socket, is_tls, .. } = setup.listener;
    let shards = setup.overviews.shards();
    let desk = Arc::new(Desk {
        names: Names { any: is_tls, given: setup.host },
        is_tls,
        port: ControlPort::new(setup.control, setup.current.clone()).map_err(io::Error::other)?,
        current: setup.current,
        board: setup.board,
        condition: setup.condition,
        overviews: setup.overviews,
        lines: setup.lines,
        sessions: Mutex::new(Sessions::new(Instant::now())),
        snapshots: Mutex::new((0..shards).map(|_| None).collect()),
    });
    let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        crate::resources::be_nice(NICE);
        runtime.block_on(async {
            tokio::select! {
                () = serve(socket, desk) => {}
                // Also when the sender is gone: then the server is ending.
                _ = stopped => {}
            }
        });
    })?;
    Ok(AdminThread { thread, stop })
}

impl AdminThread {
    /// Ends at once; an answer under way is cut.
    pub fn stop(self) {
        // An error means that it has ended by itself.
        let _ = self.stop.send(());
        self.thread.join().expect("a panic has aborted");
    }
}

async fn serve(socket: TcpListener, desk: Arc<Desk>) {
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "no admin page: its socket cannot be watched; restart the server"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
        match listener.accept().await {
            Ok((stream, peer)) => {
                let desk = desk.clone();
                tokio::spawn(async move {
                    match tokio::time::timeout(CONNECTION_MAX, converse(stream, peer, &desk)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%error, "a connection of the admin listener failed"),
                        Err(_) => tracing::debug!("a client of the admin listener was too slow"),
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept of the admin listener fails");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, desk: &Desk) -> io::Result<()> {
    if !desk.is_tls {
        return one_request(stream, peer, desk).await;
    }
    let tls = TlsAcceptor::from(desk.current.facts().tls);
    one_request(tls.accept(stream).await?, peer, desk).await
}

/// One request and its answer.
async fn one_request(stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr, desk: &Desk) -> io::Result<()> {
    let service = service_fn(async |request| Ok::<_, Infallible>(routes::answer(request, peer, desk).await));
    let conversation = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    conversation.await.map_err(io::Error::other)
}

impl Desk {
    /// What an admin sees.
    async fn state(&self, admin: &Admin<Control>, wish: &Wish) -> State {
        self.overviews.look();
        let mut snapshots = self.snapshots.lock().await;
        for _ in 0..FIRST_LOOKS {
            let mut missing = false;
            for (shard, newest) in snapshots.iter_mut().enumerate() {
                *newest = self.overviews.take(shard).or(newest.take());
                missing |= newest.is_none();
            }
            if !missing {
                break;
            }
            tokio::time::sleep(FIRST_LOOK).await;
        }
        let stopping = self.condition.phase() != Phase::Serving;
        let server = Server {
            name: self.current.facts().server_name,
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: self.overviews.now().as_millis() as u64,
            trouble: self.condition.ready().err().unwrap_or_default().to_owned(),
            stopping,
            memory_bytes: crate::resources::resident_bytes().unwrap_or(0),
        };
        let you = You {
            name: admin.name.clone(),
            role: role_name(admin.role),
            session: digits(admin.session),
            may_drain: admin.role == Role::Owner && !stopping,
        };
        let mut state = state::state(server, you, &snapshots, wish);
        state.log = self.lines.after(wish.log_after);
        state.log_missed = self.lines.missed();
        state
    }
}
