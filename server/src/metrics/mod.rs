//! `GET /metrics` over HTTP, for Prometheus: a thread of its own that reads what the shards left.
//!
//! Not for the public: it has no login and no TLS. Never touches a shard, and yields to it (nice).
//! In: HTTP/1.1 requests. Out: the text of [`Board`]; 404 to any other request.
//! Bounds: `CONNECTIONS_MAX` at a time, beyond which the next waits in the system's backlog; each lives for
//! one request and `CONNECTION_MAX` at most, with `REQUEST_BYTES_MAX` of request.

mod board;
mod process;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};

pub use board::Board;

use crate::start_error::StartError;

/// Scrapers at a time: two Prometheus servers and some people.
const CONNECTIONS_MAX: usize = 8;

/// From accept to the last byte of the answer.
const CONNECTION_MAX: Duration = Duration::from_secs(10);

/// Most of a request's head: hyper's least.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Pause after a failed accept: out of file descriptors, say.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// Lower priority than the shards' and the store's threads: `nice` steps.
const NICE: i32 = 10;

/// Prometheus's text format.
const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// A socket that waits for scrapers.
pub struct Listener {
    socket: TcpListener,
    /// Where, with the port that was taken.
    pub address: SocketAddr,
}

/// The running thread.
pub struct MetricsThread {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

/// Takes the address.
///
/// # Errors
/// It is taken already, or not of this machine.
pub fn bind(address: SocketAddr) -> Result<Listener, StartError> {
    let bound = TcpListener::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Listener { socket, address })
    });
    bound.map_err(|error| {
        StartError::Machine(format!(
            "cannot serve metrics on {address}: {error}. Choose a free port of an address of this machine with --metrics"
        ))
    })
}

/// Starts to answer.
///
/// # Errors
/// The system gives no thread or no event queue.
pub fn spawn(listener: Listener, board: Arc<Board>) -> io::Result<MetricsThread> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        crate::resources::be_nice(NICE);
        runtime.block_on(async {
            tokio::select! {
                () = serve(listener.socket, board) => {}
                // Also when the sender is gone: then the server is ending.
                _ = stopped => {}
            }
        });
    })?;
    Ok(MetricsThread { thread, stop })
}

impl MetricsThread {
    /// Ends at once; an answer under way is cut.
    pub fn stop(self) {
        // An error means that it has ended by itself.
        let _ = self.stop.send(());
        self.thread.join().expect("a panic has aborted");
    }
}

async fn serve(socket: TcpListener, board: Arc<Board>) {
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "no metrics: their socket cannot be watched; restart the server"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
        match listener.accept().await {
            Ok((stream, _)) => {
                let board = board.clone();
                tokio::spawn(async move {
                    converse(stream, &board).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept of a scraper fails");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// One request and its answer.
async fn converse(stream: TcpStream, board: &Board) {
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request, board)));
    let conversation = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_MAX, conversation).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a scraper's connection failed"),
        Err(_) => tracing::debug!("a scraper was too slow"),
    }
}

fn answer(request: &Request<Incoming>, board: &Board) -> Response<Full<Bytes>> {
    if request.method() == Method::GET && request.uri().path() == "/metrics" {
        let mut response = Response::new(Full::from(board.text()));
        response.headers_mut().insert(CONTENT_TYPE, TEXT_FORMAT);
        return response;
    }
    let mut response = Response::new(Full::from("not found: GET /metrics\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

#[cfg(test)]
mod reference;
