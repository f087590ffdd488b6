//! What the shard's thread holds of each control connection, and the table of them.
//!
//! Not I/O: the tasks of `tcp` read and write, the driver leaves output, pauses and closes here.
//! Bounds: output is bounded by the kernel (`Limits::output_bytes_max`), a closing connection lives
//! `LINGER_US` at most. Cost: O(1) a call.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::Shutdown;
use std::rc::Rc;

use bytes::BytesMut;
use echomesh_proto::ids::ConnectionId;
use echomesh_proto::time::{SECOND_US, Time};
use tokio::sync::Notify;
use tokio_uring::net::TcpStream;

use crate::tls_stream::TlsStream;

/// How long what was sent before a close may take to leave.
const LINGER_US: u64 = SECOND_US;

/// Plaintext sealed and written at once: a TLS record of the largest size (RFC 8446 §5.1).
const WRITE_BYTES: usize = 16 * 1024;

/// One control connection, shared by its reader, its writer and the table.
pub struct Link {
    /// Its name to the kernel.
    pub id: ConnectionId,
    /// The socket.
    pub stream: TcpStream,
    /// How its bytes are protected.
    pub tls: RefCell<TlsStream>,
    output: RefCell<BytesMut>,
    paused: Cell<bool>,
    closing: Cell<bool>,
    /// The kernel has not closed it and has not been told that it is gone.
    known: Cell<bool>,
    wake_reader: Notify,
    wake_writer: Notify,
}

/// What the writer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Write what was sealed; it carries this many bytes of the kernel's.
    Write { plain_bytes: usize },
    /// Nothing now.
    Wait,
    /// All has left and the connection is closing.
    Finish,
}

impl Link {
    fn new(id: ConnectionId, stream: TcpStream, tls: TlsStream) -> Self {
        Self {
            id,
            stream,
            tls: RefCell::new(tls),
            output: RefCell::new(BytesMut::new()),
            paused: Cell::new(false),
            closing: Cell::new(false),
            known: Cell::new(true),
            wake_reader: Notify::new(),
            wake_writer: Notify::new(),
        }
    }

    /// Whether inputs about it mean anything to the kernel.
    pub fn is_known(&self) -> bool {
        self.known.get()
    }

    /// Ends what the kernel knows of it; false if that has ended before.
    pub fn forget(&self) -> bool {
        self.known.replace(false)
    }

    /// Waits until the reader may read.
    pub async fn until_reading(&self) {
        while self.paused.get() && !self.closing.get() {
            self.wake_reader.notified().await;
        }
    }

    /// Waits until `next_write` may have something new.
    pub async fn until_output(&self) {
        self.wake_writer.notified().await;
    }

    /// Lets the writer look for what TLS has to say.
    pub fn has_tls_output(&self) {
        if self.tls.borrow().wants_write() {
            self.wake_writer.notify_one();
        }
    }

    /// Seals the next piece of output into `wire`.
    pub fn next_write(&self, wire: &mut Vec<u8>) -> Next {
        wire.clear();
        let mut tls = self.tls.borrow_mut();
        let mut output = self.output.borrow_mut();
        let mut plain_bytes = 0;
        if tls.is_open() {
            plain_bytes = output.len().min(WRITE_BYTES);
            let plain = output.split_to(plain_bytes);
            if output.is_empty() {
                // An idle connection costs no buffer.
                *output = BytesMut::new();
            }
            tls.seal(&plain, wire);
        } else {
            tls.seal(&[], wire);
        }
        match wire.is_empty() {
            false => Next::Write { plain_bytes },
            true if self.closing.get() => Next::Finish,
            true => Next::Wait,
        }
    }

    fn send(&self, bytes: &[u8]) {
        self.output.borrow_mut().extend_from_slice(bytes);
        self.wake_writer.notify_one();
    }

    fn set_paused(&self, paused: bool) {
        self.paused.set(paused);
        self.wake_reader.notify_one();
    }

    fn set_closing(&self) {
        self.closing.set(true);
        self.wake_reader.notify_one();
        self.wake_writer.notify_one();
    }

    /// Ends reads and writes that are under way.
    pub fn shut(&self) {
        // An error means that it is shut already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// The connections of a shard.
#[derive(Default)]
pub struct Links {
    links: Vec<Option<Rc<Link>>>,
    /// How often each slot was used.
    generations: Vec<u32>,
    free: Vec<u32>,
    /// Closing, with the time when they are shut whatever is left: in that order.
    closing: VecDeque<(Time, Rc<Link>)>,
}

impl Links {
    /// Takes a connection in, under an id never used before.
    pub fn add(&mut self, stream: TcpStream, tls: TlsStream) -> Rc<Link> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.links.push(None);
            self.generations.push(0);
            self.links.len() as u32 - 1
        });
        let generation = &mut self.generations[slot as usize];
        *generation += 1;
        let link = Rc::new(Link::new(ConnectionId { slot, generation: *generation }, stream, tls));
        self.links[slot as usize] = Some(link.clone());
        link
    }

    /// The connection's tasks have ended.
    pub fn remove(&mut self, id: ConnectionId) {
        if self.get(id).is_some() {
            self.links[id.slot as usize] = None;
            self.free.push(id.slot);
        }
    }

    /// Forgets a connection that was closed before it had any tasks: its socket closes with the last hold on it.
    pub fn drop_now(&mut self, id: ConnectionId) {
        if let Some(at) = self.closing.iter().rposition(|(_, link)| link.id == id) {
            self.closing.remove(at);
        }
        self.remove(id);
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.links.len() == self.free.len()
    }

    fn get(&self, id: ConnectionId) -> Option<&Rc<Link>> {
        self.links.get(id.slot as usize)?.as_ref().filter(|link| link.id == id)
    }

    /// `Effect::Send`.
    pub fn send(&self, id: ConnectionId, bytes: &[u8]) {
        if let Some(link) = self.get(id) {
            link.send(bytes);
        }
    }

    /// `Effect::PauseReading` and `Effect::ResumeReading`.
    pub fn set_paused(&self, id: ConnectionId, paused: bool) {
        if let Some(link) = self.get(id) {
            link.set_paused(paused);
        }
    }

    /// `Effect::Close`, or the end by the peer's doing: lets the output leave for a while.
    pub fn close(&mut self, id: ConnectionId, now: Time) {
        let Some(link) = self.get(id).filter(|link| !link.closing.get()).cloned() else { return };
        link.forget();
        link.set_closing();
        self.closing.push_back((now.after_us(LINGER_US), link));
    }

    /// Shuts the connections that have lingered long enough.
    pub fn shut_overdue(&mut self, now: Time) {
        while self.closing.front().is_some_and(|(deadline, _)| *deadline <= now) {
            if let Some((_, link)) = self.closing.pop_front() {
                link.shut();
            }
        }
    }

    /// Shuts all, when the server stops.
    pub fn shut_all(&self) {
        self.links.iter().flatten().for_each(|link| link.shut());
    }
}
