//! An admin's own control connection to this server, from the admin's thread: the page does what it does by the ordinary
//! messages, so every rule about who may do what stays where it is, in the kernel.
//!
//! Not a client: no rooms, no voice, no resume. In: a name and a password, then requests. Out: one answer each; what
//! comes unasked is left unread. TLS is as for everyone, and only this server's own key is taken.
//! Bounds: one request at a time; `ANSWER_MAX` for each. Whatever goes wrong ends the connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use echomesh_proto::control::{Body, EchoMsg, LoginRequest, LoginResponse, Role, StatusCode, Who};
use echomesh_proto::framing::FrameDecoder;
use echomesh_tls::{Judge, Shown, client_config};
use prost::Message;
use ring::digest::{SHA256, digest};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::current::Current;
use crate::hex::hex;

/// Longest wait for an answer: a login waits for the hashers, an act for the store, which gives up after 3 s.
const ANSWER_MAX: Duration = Duration::from_secs(8);

/// Read at once.
const READ_BYTES: usize = 4 * 1024;

/// The name in the handshake: the key is what counts.
const SERVER_NAME: &str = "echomesh";

/// How this process reaches its own control port.
#[derive(Clone)]
pub struct ControlPort {
    address: SocketAddr,
    tls: TlsConnector,
}

/// A connection that is logged in.
pub struct Control {
    stream: TlsStream<TcpStream>,
    decoder: FrameDecoder,
    asked: u32,
}

/// The connection is over, by whoever's doing; its session is, too.
#[derive(Debug)]
pub struct Lost;

/// Why a login came to nothing.
#[derive(Debug)]
pub enum LoginFailure {
    /// The server says no, and when to try again.
    Refused(Box<LoginResponse>),
    /// An account that is no admin's.
    NotAdmin,
    /// The server does not answer.
    Lost,
}

impl ControlPort {
    /// Of the server that listens there and has the current public key.
    pub fn new(listening: SocketAddr, current: Arc<Current>) -> Result<Self, rustls::Error> {
        let address = match listening.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, listening.port())),
            // It listens to IPv4, too.
            IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, listening.port())),
            _ => listening,
        };
        let mut config = client_config(Arc::new(OwnKey(current)))?;
        config.resumption = Resumption::disabled();
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Logs in to an account that is there and whose role is admin at least.
    ///
    /// # Errors
    /// It is not, the password is wrong, or the server does not answer.
    pub async fn log_in(&self, username: String, password: String) -> Result<(Control, Who), LoginFailure> {
        let attempt = async {
            let mut control = self.connect().await.map_err(|_| Lost)?;
            let login = LoginRequest { username, password, existing: true, ..LoginRequest::default() };
            let answer = control.ask(Body::LoginRequest(login)).await?;
            Ok::<_, Lost>((control, answer))
        };
        let in_time = tokio::time::timeout(ANSWER_MAX, attempt).await.map_err(|_| LoginFailure::Lost)?;
        let (mut control, answer) = in_time.map_err(|Lost| LoginFailure::Lost)?;
        match answer {
            Body::LoginResponse(response) if response.status_code() == StatusCode::StatusOk => {}
            Body::LoginResponse(response) => return Err(LoginFailure::Refused(Box::new(response))),
            // Said before the login was read: too many connections, or the end.
            Body::Status(status) => {
                let response = LoginResponse {
                    status_code: status.status_code,
                    message: status.message,
                    retry_after_ms: status.retry_after_ms,
                    ..LoginResponse::default()
                };
                return Err(LoginFailure::Refused(Box::new(response)));
            }
            _ => return Err(LoginFailure::Lost),
        }
        match control.ask(Body::Who(Who::default())).await {
            Ok(Body::Who(who)) if who.role() >= Role::Admin => Ok((control, who)),
            Ok(Body::Who(_)) => Err(LoginFailure::NotAdmin),
            _ => Err(LoginFailure::Lost),
        }
    }

    async fn connect(&self) -> std::io::Result<Control> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(SERVER_NAME).expect("it is a DNS name");
        let stream = self.tls.connect(name, stream).await?;
        Ok(Control { stream, decoder: FrameDecoder::default(), asked: 0 })
    }
}

impl Control {
    /// One request, and its answer. Whoever drops this in the middle leaves half a request behind: see [`ask`].
    async fn ask(&mut self, body: Body) -> Result<Body, Lost> {
        self.asked = self.asked.wrapping_add(1).max(1);
        let mut frame = Vec::new();
        EchoMsg::new(self.asked, body).append_frame(&mut frame);
        self.stream.write_all(&frame).await.map_err(|_| Lost)?;
        self.stream.flush().await.map_err(|_| Lost)?;
        let mut bytes = [0; READ_BYTES];
        loop {
            while let Some(frame) = self.decoder.next_frame().map_err(|_| Lost)? {
                let msg = EchoMsg::decode(frame).map_err(|_| Lost)?;
                let is_notice = msg.request_id == 0;
                match msg.body {
                    Some(body) if msg.request_id == self.asked => return Ok(body),
                    // Before a close, whose reason the caller may show.
                    Some(Body::Status(status)) if is_notice && self.asked == 1 => return Ok(Body::Status(status)),
                    _ => {}
                }
            }
            match self.stream.read(&mut bytes).await {
                Ok(read @ 1..) => self.decoder.push(&bytes[..read]),
                Ok(0) | Err(_) => return Err(Lost),
            }
        }
    }
}

/// One request and its answer, in a task of its own: the browser may go away in the middle.
///
/// # Errors
/// The connection is over, or the answer did not come in time.
pub async fn ask(control: &Arc<Mutex<Control>>, body: Body) -> Result<Body, Lost> {
    let control = control.clone();
    let asking = tokio::spawn(async move {
        let answer = async { control.lock().await.ask(body).await };
        tokio::time::timeout(ANSWER_MAX, answer).await.unwrap_or(Err(Lost))
    });
    asking.await.unwrap_or(Err(Lost))
}

/// Takes this server's own key and no other.
#[derive(Debug)]
struct OwnKey(Arc<Current>);

impl Judge for OwnKey {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        if hex(digest(&SHA256, &shown.key()?).as_ref()) == self.0.facts().fingerprint {
            Ok(())
        } else {
            Err(rustls::Error::General("another server's key".to_owned()))
        }
    }
}
